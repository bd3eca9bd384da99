//! Every metric of this crate: name, type, unit, labels. `docs/observability.md` lists the same.
//!
//! A label's values are bounded: names of stores, tenant classes and what is listed in the description.
//! A tenant's or entity's name is never one.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Unit, with_recorder};

/// How a metric's values come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Grows.
    Counter,
    /// Is set.
    Gauge,
    /// A distribution of values.
    Histogram,
}

impl MetricKind {
    /// The kind as text: `counter`, `gauge`, `histogram`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What there is to know about a metric besides its values.
#[derive(Debug)]
#[non_exhaustive]
pub struct Metric {
    /// The name, in the manner of Prometheus.
    pub name: &'static str,
    /// How its values come about.
    pub kind: MetricKind,
    /// What a value is a number of.
    pub unit: Unit,
    /// The labels, in the order in which their values are given.
    pub labels: &'static [&'static str],
    /// What it says.
    pub description: &'static str,
}

const METADATA: Metadata<'static> = Metadata::new("store_unified", Level::INFO, Some(module_path!()));

impl Metric {
    const fn counter_of(
        name: &'static str,
        labels: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        Self { name, kind: MetricKind::Counter, unit: Unit::Count, labels, description }
    }

    const fn gauge_of(
        name: &'static str,
        unit: Unit,
        labels: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        Self { name, kind: MetricKind::Gauge, unit, labels, description }
    }

    const fn seconds_of(
        name: &'static str,
        labels: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        Self { name, kind: MetricKind::Histogram, unit: Unit::Seconds, labels, description }
    }

    /// The counter with these label values, given in the order of [`labels`](Self::labels). For as long as it
    /// lives it counts into the recorder that is installed now; so get it once, not for each call.
    pub fn counter<const N: usize>(&self, values: [&str; N]) -> Counter {
        debug_assert_eq!(self.kind, MetricKind::Counter, "{}", self.name);
        with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    /// Likewise the gauge.
    pub fn gauge<const N: usize>(&self, values: [&str; N]) -> Gauge {
        debug_assert_eq!(self.kind, MetricKind::Gauge, "{}", self.name);
        with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA))
    }

    /// Likewise the histogram.
    pub fn histogram<const N: usize>(&self, values: [&str; N]) -> Histogram {
        debug_assert_eq!(self.kind, MetricKind::Histogram, "{}", self.name);
        with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }

    fn key<const N: usize>(&self, values: [&str; N]) -> Key {
        debug_assert_eq!(self.labels.len(), N, "the labels of {}", self.name);
        let label = |(name, value): (&&'static str, &str)| Label::new(*name, value.to_owned());
        Key::from_parts(self.name, self.labels.iter().zip(values).map(label).collect::<Vec<_>>())
    }

    fn describe(&self) {
        let (name, unit, description) =
            (KeyName::from_const_str(self.name), Some(self.unit), self.description.into());
        with_recorder(|recorder| match self.kind {
            MetricKind::Counter => recorder.describe_counter(name, unit, description),
            MetricKind::Gauge => recorder.describe_gauge(name, unit, description),
            MetricKind::Histogram => recorder.describe_histogram(name, unit, description),
        });
    }
}

/// Tells the installed recorder what each metric is. Once, after the recorder has been installed.
pub fn describe_all() {
    ALL.iter().for_each(|metric| metric.describe());
}

/// Calls of the handle.
pub const REQUESTS: Metric = Metric::counter_of(
    "fstore_requests_total",
    &["class", "operation", "status"],
    "requests of applications; status is ok (of each row), the kind of the first error, or Dropped where the \
     application did not wait for the answer",
);

/// Rows of calls of the handle.
pub const REQUEST_ROWS: Metric = Metric::counter_of(
    "fstore_request_rows_total",
    &["class", "operation", "status"],
    "rows of requests; status is found or absent of a read or delete, applied or superseded of a write, Dropped, \
     or the kind of the error (Conflict where other writers were faster again and again)",
);

/// How long calls of the handle take.
pub const REQUEST_SECONDS: Metric = Metric::seconds_of(
    "fstore_request_seconds",
    &["class", "operation", "status"],
    "how long a request took, until it was answered or dropped",
);

/// How old served rows are.
pub const FRESHNESS_SECONDS: Metric = Metric::seconds_of(
    "fstore_freshness_seconds",
    &["class"],
    "of up to ten rows of each request, the time from the newest event time to the read",
);

/// Calls of one store.
pub const STORE_CALLS: Metric = Metric::counter_of(
    "fstore_store_calls_total",
    &["store", "operation", "status"],
    "calls of a store; status is ok (of each row), the kind of the first error, or Dropped where the caller \
     did not wait for the answer, as at a deadline",
);

/// Rows of calls of one store.
pub const STORE_ROWS: Metric = Metric::counter_of(
    "fstore_store_rows_total",
    &["store", "operation", "status"],
    "rows of calls of a store; status is ok, the kind of the row's error, or Dropped",
);

/// How long calls of one store take.
pub const STORE_CALL_SECONDS: Metric = Metric::seconds_of(
    "fstore_store_call_seconds",
    &["store", "operation", "status"],
    "how long a call of a store took, until it was answered or dropped; of a scan, until it ended",
);

/// Calls that were sent again.
pub const RETRIES: Metric = Metric::counter_of(
    "fstore_retries_total",
    &["store", "operation"],
    "calls that were sent to a store again after a failure that may pass",
);

/// Reads that were sent a second time because the first was slow.
pub const HEDGES: Metric = Metric::counter_of(
    "fstore_hedges_total",
    &["store"],
    "second reads that were sent because the first had not been answered in time",
);

/// Second reads that were faster.
pub const HEDGE_WINS: Metric =
    Metric::counter_of("fstore_hedge_wins_total", &["store"], "second reads that were answered first");

/// Calls that were not sent because too many were under way.
pub const SHEDS: Metric = Metric::counter_of(
    "fstore_sheds_total",
    &["store"],
    "calls that were refused because the store had too many under way",
);

/// The state of a store's circuit.
pub const CIRCUIT_STATE: Metric = Metric::gauge_of(
    "fstore_circuit_state",
    Unit::Count,
    &["store"],
    "whether calls are let through to a store: 0 closed (they are), 1 half open (a few try), 2 open (none)",
);

/// How often it changed.
pub const CIRCUIT_CHANGES: Metric = Metric::counter_of(
    "fstore_circuit_changes_total",
    &["store", "to"],
    "changes of a store's circuit to closed, half_open or open",
);

/// Rows that another store than the first has answered.
pub const FALLBACK_ROWS: Metric = Metric::counter_of(
    "fstore_fallback_rows_total",
    &["store", "reason"],
    "rows that were read from the fallback of a store, and why",
);

/// Rows that the second store of a mirror lacks for now.
pub const MIRROR_FAILURES: Metric = Metric::counter_of(
    "fstore_mirror_failures_total",
    &["store", "to"],
    "rows that a store has and its mirror, or the target of its migration, could not be given",
);

/// Rows that a migration has copied.
pub const COPIED_ROWS: Metric = Metric::counter_of(
    "fstore_migration_copied_rows_total",
    &["from", "to"],
    "records that a migration has copied from one store to another",
);

/// Rows that were asked of the cache.
pub const CACHE_ROWS: Metric = Metric::counter_of(
    "fstore_cache_rows_total",
    &["result"],
    "rows that were asked of the cache: hit, miss (read from the store), joined (another call was reading it)",
);

/// What the cache holds.
pub const CACHE_BYTES: Metric =
    Metric::gauge_of("fstore_cache_bytes", Unit::Bytes, &[], "memory that the cache takes");

/// Rows that were refused because a tenant was over its quota.
pub const QUOTA_REFUSED_ROWS: Metric = Metric::counter_of(
    "fstore_quota_refused_rows_total",
    &["quota"],
    "rows that were not sent because their tenant was over its quota of reads, writes or rows",
);

/// Every metric.
pub const ALL: [&Metric; 19] = [
    &REQUESTS,
    &REQUEST_ROWS,
    &REQUEST_SECONDS,
    &FRESHNESS_SECONDS,
    &STORE_CALLS,
    &STORE_ROWS,
    &STORE_CALL_SECONDS,
    &RETRIES,
    &HEDGES,
    &HEDGE_WINS,
    &SHEDS,
    &CIRCUIT_STATE,
    &CIRCUIT_CHANGES,
    &FALLBACK_ROWS,
    &MIRROR_FAILURES,
    &COPIED_ROWS,
    &CACHE_ROWS,
    &CACHE_BYTES,
    &QUOTA_REFUSED_ROWS,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use metrics::with_local_recorder;
    use metrics_util::debugging::DebuggingRecorder;

    use super::*;

    /// Name, type, unit and labels, as a line.
    fn line(name: &str, kind: &str, unit: &str, labels: &str) -> String {
        format!("{name} {kind} {unit} [{labels}]")
    }

    #[test]
    fn the_documentation_lists_these_metrics_and_no_others() {
        let text = include_str!("../../../../docs/observability.md");
        let of_row = |row: &str| {
            let cells: Vec<_> = row.split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect();
            line(&cells[1], &cells[2], &cells[3], &cells[4])
        };
        let documented: Vec<_> =
            text.lines().filter(|row| row.starts_with("| `fstore_")).map(of_row).collect();
        let of_metric = |metric: &&Metric| {
            line(metric.name, metric.kind.name(), metric.unit.as_str(), &metric.labels.join(" "))
        };
        let known: BTreeSet<_> = ALL.iter().map(of_metric).collect();
        assert_eq!(known.len(), ALL.len());
        assert_eq!(documented.len(), ALL.len());
        assert_eq!(documented.into_iter().collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn names_tell_type_and_unit() {
        for metric in ALL {
            let ending = match (metric.kind, metric.unit) {
                (MetricKind::Counter, Unit::Count) => "_total",
                (MetricKind::Histogram, Unit::Seconds) => "_seconds",
                (MetricKind::Gauge, Unit::Bytes) => "_bytes",
                (MetricKind::Gauge, Unit::Count) => "_state",
                other => panic!("{}: {other:?}", metric.name),
            };
            assert!(metric.name.starts_with("fstore_") && metric.name.ends_with(ending), "{}", metric.name);
            assert!(
                !metric.labels.contains(&"tenant") && !metric.labels.contains(&"entity"),
                "{}",
                metric.name
            );
        }
    }

    #[test]
    fn a_recorder_learns_what_each_metric_is() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        with_local_recorder(&recorder, || {
            describe_all();
            STORE_CALLS.counter(["main", "get", "ok"]).increment(2);
            CACHE_BYTES.gauge([]).set(7.0);
            FRESHNESS_SECONDS.histogram(["gold"]).record(1.0);
        });
        let seen = snapshotter.snapshot().into_vec().into_iter().map(|(key, unit, description, _)| {
            let labels: Vec<_> =
                key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            (key.key().name().to_owned(), labels.join(","), unit, description.map(|text| text.to_string()))
        });
        let described = |metric: &Metric, labels: &str| {
            let description = Some(metric.description.to_owned());
            (metric.name.to_owned(), labels.to_owned(), Some(metric.unit), description)
        };
        let mut seen: Vec<_> = seen.collect();
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        let mut expected = vec![
            described(&STORE_CALLS, "store=main,operation=get,status=ok"),
            described(&CACHE_BYTES, ""),
            described(&FRESHNESS_SECONDS, "class=gold"),
        ];
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(seen, expected);
    }
}
