//! The arguments of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{duration, name, tenant};
use crate::bench::Distribution;

#[derive(Debug, Args)]
#[command(
    after_help = BENCH_HELP,
    group(ArgGroup::new("which").args(["entities", "entities_from"]).required(true)),
    group(ArgGroup::new("how_fast").args(["rate", "concurrency"]).required(true).multiple(true)),
)]
pub(crate) struct BenchArgs {
    /// The tenant.
    #[arg(long, value_parser = tenant)]
    pub(crate) tenant: String,
    /// The feature views; a call reads the same entities of all of them.
    #[arg(long = "view", required = true, value_parser = name, value_name = "VIEW")]
    pub(crate) views: Vec<String>,
    /// The features that are read of one view; by default all.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) features: Option<Vec<String>>,
    /// A server instead of the store, such as http://localhost:6566.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The key for that server; better in the environment, where no list of processes shows it.
    #[arg(long, env = "FSTORE_KEY", hide_env_values = true, requires = "server")]
    pub(crate) key: Option<String>,

    /// So many entities, whose join keys are the numbers from 0.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) entities: Option<u64>,
    /// The entities of this file, such as customer_id=7 or 'country=DE|id=7', one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) entities_from: Option<PathBuf>,
    /// How often which entity is asked for: `uniform`, `zipf`, or zipf with its exponent, such as zipf:1.2.
    #[arg(long, default_value = "uniform", value_parser = distribution)]
    pub(crate) distribution: Distribution,
    /// How many entities a call is about.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) batch: u64,

    /// Calls a second, whatever becomes of those before.
    #[arg(long, value_name = "CALLS", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// At most so many calls at a time [default: 64]. Without --rate each is sent when one before it is answered.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) concurrency: Option<u64>,
    /// How long it is measured.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub(crate) duration: Duration,
    /// How long the load is there before that.
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub(crate) warm_up: Duration,
    /// How long a call may take.
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,

    /// The share of calls that write made-up values to one of the views, such as 0.1; by default none do.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) writes: Option<f64>,
    /// First write made-up values for all entities.
    #[arg(long)]
    pub(crate) fill: bool,

    /// Also draw the results, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

const BENCH_HELP: &str = "\
    `service` is how long a call took from when it was sent; `response`, from when it was due. With --rate a store that \
    stands still for a second keeps all calls of that second waiting, and `response` shows it. Without --rate calls wait \
    for each other, no call is due before it is sent, and what both show is what one caller in a queue of its own sees. \
    Nothing is written without --writes or --fill; what these write is as good as real, so name a tenant of its own, \
    and remove it with `fstore purge`.";

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected calls a second, from 0.01 to 10,000,000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share, from 0 to 1".to_owned()),
    }
}

fn distribution(text: &str) -> Result<Distribution, String> {
    let exponent = match text.split_once(':') {
        None if text == "uniform" => return Ok(Distribution::Uniform),
        None if text == "zipf" => Ok(1.0),
        Some(("zipf", exponent)) => exponent.parse::<f64>(),
        _ => return Err("expected uniform, zipf, or zipf:EXPONENT".to_owned()),
    };
    match exponent {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(Distribution::Zipf(exponent)),
        _ => Err("expected an exponent from 0 to 10".to_owned()),
    }
}
