//! The recorder of metrics that a server shows.

use feature_core::{Error, ErrorKind, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Buckets of the time that calls take, in seconds.
const CALLS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0];
/// Buckets of the age of features, in seconds: from a second to four weeks.
const AGES: [f64; 8] = [1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0, 604_800.0, 2_419_200.0];

/// Installs a recorder for the whole process, before the store is built: what is built earlier is not
/// counted.
///
/// # Errors
/// `Internal` when there is one already.
pub fn install_metrics() -> Result<PrometheusHandle> {
    let unusable = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Internal, format!("metrics cannot be recorded: {error}"))
    };
    let handle = PrometheusBuilder::new()
        .set_buckets(&CALLS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full("fstore_freshness_seconds".to_owned()), &AGES)
        })
        .map_err(|error| unusable(&error))?
        .install_recorder()
        .map_err(|error| unusable(&error))?;
    store_unified::observe::describe_all();
    Ok(handle)
}
