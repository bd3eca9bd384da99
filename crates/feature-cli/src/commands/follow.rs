//! `follow`: keep features fresh from streams.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use feature_core::format_duration;
use feature_ingest::follow::FollowProgress;
use hdrhistogram::Histogram;
use serde_json::json;

use super::serve::{Signal, Signals};
use crate::cli::Target;
use crate::exit::{Exit, Failure, Result, say};
use crate::followers::{Followed, Followers};
use crate::output::Output;
use crate::progress::shown;
use crate::streams::Stream;
use crate::{settings, streams};

/// How often a line is written where there is no terminal, and how often a stream is asked for its lag.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The highest age that is told from others: a month of milliseconds.
const LONGEST: u64 = 31 * 86_400_000;

pub(super) async fn run(target: &Target, names: &[String], output: &mut Output) -> Result<Exit> {
    let Target::Settings(file) = target else {
        return Err(Failure::Usage("the streams are in a settings file: say --config FILE".to_owned()));
    };
    let settings = settings::load(file)?;
    let streams = wanted(streams::load(file)?, names, file)?;
    let store = settings::open(&settings).await?;
    let mut signals = Signals::new()?;
    let online = store.online().with_deadline(settings.migration.longest_write);
    let ages: Vec<Ages> = streams.iter().map(|stream| Ages::new(&stream.name)).collect::<Result<_>>()?;
    let observer = |name: &str| {
        let own = ages.iter().find(|ages| ages.stream == name).cloned();
        move |age| own.iter().for_each(|ages| ages.note(age))
    };
    let mut followers = Followers::start(streams, &online, observer)?;
    let streams = followers.streams().to_vec();
    let began = Instant::now();
    let all = async {
        let mut failed = None;
        loop {
            tokio::select! {
                ended = followers.ended() => match ended {
                    Some(Ok(())) => {}
                    // One that cannot go on ends the others, in good order.
                    Some(Err(error)) => {
                        failed.get_or_insert(error);
                        followers.stop();
                    }
                    None => break failed,
                },
                signal = signals.next() => if let Signal::Stop = signal {
                    say("fstore: stopping: what was delivered is written");
                    followers.stop();
                },
                () = tell(&streams) => {}
            }
        }
    };
    let message = || {
        let line = |stream: &Followed| summary(&stream.name, &stream.tally.progress(), began.elapsed());
        streams.iter().map(line).collect::<Vec<_>>().join("; ")
    };
    let failed = shown(message, all).await;
    let took = began.elapsed();
    let mut rows = output.rows(&[
        "stream",
        "delivered",
        "written",
        "superseded",
        "empty",
        "dead",
        "troubles",
        "fresh_p99_ms",
        "seconds",
    ]);
    for (Followed { name, tally, .. }, ages) in streams.iter().zip(&ages) {
        let FollowProgress { delivered, written, superseded, empty, dead, troubles, .. } = tally.progress();
        let counts = [delivered, written, superseded, empty, dead, troubles].map(|count| json!(count));
        let seconds = json!((took.as_secs_f64() * 1000.0).round() / 1000.0);
        rows.push([json!(name)].into_iter().chain(counts).chain([json!(ages.p99()), seconds]).collect())?;
    }
    rows.finish()?;
    store.close().await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let any_dead = streams.iter().any(|stream| stream.tally.progress().dead > 0);
    Ok(if any_dead { Exit::Partly } else { Exit::Done })
}

fn wanted(all: Vec<Stream>, names: &[String], file: &Path) -> Result<Vec<Stream>> {
    let known: Vec<&str> = all.iter().map(|stream| stream.name.as_str()).collect();
    if known.is_empty() {
        return Err(Failure::Usage(format!("the settings file {} has no `streams`", file.display())));
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::Usage(format!(
            "there is no stream `{unknown}` in {}; known are {}",
            file.display(),
            known.join(", ")
        )));
    }
    Ok(all.into_iter().filter(|stream| names.is_empty() || names.contains(&stream.name)).collect())
}

/// How old messages were when the store had them: of each batch the oldest.
#[derive(Clone)]
struct Ages {
    stream: String,
    millis: Arc<Mutex<Histogram<u64>>>,
}

impl Ages {
    fn new(stream: &str) -> Result<Self> {
        let millis = Histogram::new_with_max(LONGEST, 3)
            .map_err(|e| Failure::Other(format!("ages cannot be counted: {e}")))?;
        Ok(Self { stream: stream.to_owned(), millis: Arc::new(Mutex::new(millis)) })
    }

    fn note(&self, age: Duration) {
        self.millis.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(age.as_millis() as u64);
    }

    /// Of 99 in a hundred batches.
    fn p99(&self) -> u64 {
        self.millis.lock().unwrap_or_else(PoisonError::into_inner).value_at_quantile(0.99)
    }
}

/// Says from time to time how far each is, where no terminal shows it.
async fn tell(streams: &[Followed]) {
    tokio::time::sleep(LINE_EVERY).await;
    if io::stderr().is_terminal() {
        return;
    }
    for Followed { name, feed, tally, .. } in streams {
        let lag = match feed.lag().await {
            Ok(Some(lag)) => lag.to_string(),
            Ok(None) | Err(_) => "unknown".to_owned(),
        };
        let FollowProgress { written, dead, troubles, freshness, .. } = tally.progress();
        let freshness = format_duration(Duration::from_millis(freshness.as_millis() as u64));
        say(format_args!(
            "fstore: stream `{name}`: {written} written, {dead} dead, {troubles} troubles, lag {lag}, fresh to {freshness}"
        ));
    }
}

fn summary(name: &str, progress: &FollowProgress, took: Duration) -> String {
    let FollowProgress { written, dead, freshness, .. } = progress;
    let rate = (*written as f64 / took.as_secs_f64().max(1e-6)).round();
    let freshness = format_duration(Duration::from_millis(freshness.as_millis() as u64));
    format!("{name}: {written} written ({rate}/s), {dead} dead, fresh to {freshness}")
}
