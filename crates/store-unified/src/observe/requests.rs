//! What becomes of the requests that applications make.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{
    BatchRows, Clock, Error, FeatureRow, RequestInfo, RequestObserver, Timestamp, WriteOutcome, WriteReport,
};
use futures::future::BoxFuture;
use metrics::Histogram;
use tracing::{Instrument, Span, debug_span, field};

use super::call::Call;
use super::names::{FRESHNESS_SECONDS, REQUEST_ROWS, REQUEST_SECONDS, REQUESTS};
use super::series::{Series, Status};
use crate::pattern::Pattern;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum RequestKind {
    Read,
    Write,
    Delete,
}

impl RequestKind {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }

    /// What rows are when all is well.
    const fn expected(self) -> &'static [Status] {
        match self {
            Self::Write => &[Status::APPLIED, Status::SUPERSEDED],
            Self::Read | Self::Delete => &[Status::FOUND, Status::ABSENT],
        }
    }
}

/// How many rows of a request are sampled for freshness, at most: to note it for each would cost more than to
/// decode the row.
const SAMPLED_ROWS: usize = 10;

/// What stands for the view of a request for several.
const SEVERAL_VIEWS: &str = "several views";

/// The class of tenants that the settings do not name.
const DEFAULT_CLASS: &str = "default";

/// Counts requests by class of tenant, and makes their spans.
///
/// ```
/// use feature_core::Timestamp;
/// use store_unified::observe::{RequestKind, RequestMetrics};
/// let metrics = RequestMetrics::new([("acme-*".parse()?, "gold".to_owned())]);
/// let request = metrics.begin(RequestKind::Read, "acme-corp", "customers", 2);
/// // … await what the request does, instrumented with `request.span()` …
/// let now = Timestamp::from_micros(7_000_000);
/// request.read([Ok(Some(Timestamp::from_micros(1_000_000))), Ok(None)], now);
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct RequestMetrics(Option<Classes>);

struct Classes {
    /// The first pattern that matches a tenant says its class.
    patterns: Vec<(Pattern, usize)>,
    /// The default class comes first.
    classes: Vec<Class>,
}

struct Class {
    name: String,
    /// By [`RequestKind`].
    series: [Arc<Series>; 3],
    freshness: Histogram,
}

impl Class {
    fn new(name: String) -> Self {
        let series = RequestKind::ALL.map(|kind| {
            let metrics = [&REQUESTS, &REQUEST_ROWS, &REQUEST_SECONDS];
            Arc::new(Series::new(metrics, [&name, kind.name()], kind.expected()))
        });
        let freshness = FRESHNESS_SECONDS.histogram([&name]);
        Self { name, series, freshness }
    }
}

impl RequestMetrics {
    /// Counts each tenant in the class that the first matching pattern names, and in `default` where none
    /// does. Several patterns may name the same class.
    pub fn new(classes: impl IntoIterator<Item = (Pattern, String)>) -> Self {
        let mut all = vec![Class::new(DEFAULT_CLASS.to_owned())];
        let mut number = |name: String| {
            all.iter().position(|class| class.name == name).unwrap_or_else(|| {
                all.push(Class::new(name));
                all.len() - 1
            })
        };
        let patterns = classes.into_iter().map(|(pattern, name)| (pattern, number(name))).collect();
        Self(Some(Classes { patterns, classes: all }))
    }

    /// Counts nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// A request begins. Tell it the outcome; one that is dropped counts as `Dropped`.
    pub fn begin(&self, kind: RequestKind, tenant: &str, view: &str, rows: usize) -> Request<'_> {
        let operation = kind.name();
        let span = debug_span!("fstore.request", operation, tenant, view, rows, status = field::Empty);
        let class = self.0.as_ref().map(|classes| {
            let class = classes.patterns.iter().find(|(pattern, _)| pattern.matches(tenant));
            &classes.classes[class.map_or(0, |(_, number)| *number)]
        });
        let series = class.map(|class| Arc::clone(&class.series[kind as usize]));
        Request { call: Call::begin(series, rows, span), class, rows }
    }
}

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class =
            |(pattern, number): &(Pattern, usize)| (pattern.to_string(), self.classes[*number].name.clone());
        f.debug_map().entries(self.patterns.iter().map(class)).finish()
    }
}

/// A request under way.
#[must_use = "a request that is dropped counts as given up"]
pub struct Request<'a> {
    call: Call,
    class: Option<&'a Class>,
    rows: usize,
}

impl Request<'_> {
    /// The span in which the request does its work.
    pub fn span(&self) -> Span {
        self.call.span()
    }

    /// Does the work of the request, and tells it the outcome; `end` does so where it is good.
    pub(crate) async fn counted<T>(
        self,
        work: impl Future<Output = Result<T, Error>>,
        end: impl FnOnce(Self, &T),
    ) -> Result<T, Error> {
        let answer = work.instrument(self.span()).await;
        match &answer {
            Ok(answer) => end(self, answer),
            Err(error) => self.fail(error),
        }
        answer
    }

    /// A read has ended: the newest event time of each row, none, or an error. What is served is as fresh as
    /// it is `now`.
    pub fn read<'e>(
        self,
        rows: impl IntoIterator<Item = Result<Option<Timestamp>, &'e Error>>,
        now: Timestamp,
    ) {
        let every = self.rows.div_ceil(SAMPLED_ROWS).max(1);
        let status = |(number, row): (usize, Result<Option<Timestamp>, &'e Error>)| {
            let event_time = row?;
            let sampled = self.class.filter(|_| number.is_multiple_of(every));
            if let (Some(class), Some(event_time)) = (sampled, event_time) {
                class.freshness.record(now.since(event_time).as_secs_f64());
            }
            Ok(if event_time.is_some() { Status::FOUND } else { Status::ABSENT })
        };
        self.call.answered(rows.into_iter().enumerate().map(status));
    }

    /// A write has ended.
    pub fn write(self, report: &WriteReport) {
        let status = |outcome: &WriteOutcome| match outcome {
            WriteOutcome::Applied => Status::APPLIED,
            WriteOutcome::Superseded => Status::SUPERSEDED,
        };
        self.call.answered(report.rows().iter().map(|row| row.as_ref().map(status)));
    }

    /// A delete has ended: for each row whether there was a record.
    pub fn delete(self, rows: &[Result<bool, Error>]) {
        let status = |found: &bool| if *found { Status::FOUND } else { Status::ABSENT };
        self.call.answered(rows.iter().map(|row| row.as_ref().map(status)));
    }

    /// The request as a whole was refused.
    pub fn fail(self, error: &Error) {
        self.call.refused(error);
    }
}

/// Counts the requests of a handle with this clock.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) metrics: Arc<RequestMetrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Counting {
    fn begin(&self, kind: RequestKind, request: RequestInfo<'_>) -> Request<'_> {
        let view = request.feature_view.unwrap_or(SEVERAL_VIEWS);
        self.metrics.begin(kind, request.tenant_id, view, request.rows)
    }
}

#[async_trait]
impl RequestObserver for Counting {
    async fn read(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<Vec<BatchRows>, Error>>,
    ) -> Result<Vec<BatchRows>, Error> {
        let time = |row: &Option<FeatureRow>| row.as_ref().map(|row| row.timestamp);
        let end = |request: Request<'_>, views: &Vec<BatchRows>| {
            request.read(views.iter().flatten().map(|row| row.as_ref().map(time)), self.clock.now());
        };
        self.begin(RequestKind::Read, request).counted(work, end).await
    }

    async fn write(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<WriteReport, Error>>,
    ) -> Result<WriteReport, Error> {
        self.begin(RequestKind::Write, request).counted(work, Request::write).await
    }

    async fn delete(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<Vec<Result<bool, Error>>, Error>>,
    ) -> Result<Vec<Result<bool, Error>>, Error> {
        self.begin(RequestKind::Delete, request).counted(work, |request, rows| request.delete(rows)).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use feature_core::{EntityKey, ErrorKind, FeatureWrite, ManualClock, OnlineStore};
    use metrics::with_local_recorder;
    use metrics_util::debugging::DebuggingRecorder;
    use store_testkit::{Fault, FaultyBackend, MapStore, Operation};

    use super::*;
    use crate::observe::names::Metric;
    use crate::observe::testing::{Seen, Spans};

    const START: Timestamp = Timestamp::from_micros(1_000_000_000_000);

    fn at(seconds: u64) -> Timestamp {
        START.saturating_add(Duration::from_secs(seconds))
    }

    fn within<T>(work: impl AsyncFnOnce() -> T) -> (Seen, Vec<String>) {
        let (recorder, spans) = (DebuggingRecorder::new(), Spans::default());
        let snapshotter = recorder.snapshotter();
        let _guard = tracing::subscriber::set_default(spans.clone());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        with_local_recorder(&recorder, || runtime.block_on(work()));
        (Seen::new(snapshotter), spans.seen())
    }

    fn classes() -> RequestMetrics {
        let class = |pattern: &str, class: &str| (pattern.parse().unwrap(), class.to_owned());
        RequestMetrics::new([class("acme", "gold"), class("eu-*", "silver"), class("us-*", "silver")])
    }

    #[test]
    fn requests_are_counted_by_class_and_never_by_tenant() {
        let (seen, spans) = within(async || {
            let metrics = classes();
            for tenant in ["acme", "eu-1", "us-2", "somebody"] {
                let request = metrics.begin(RequestKind::Read, tenant, "v", 3);
                let work = async { tokio::time::advance(Duration::from_millis(20)).await };
                work.instrument(request.span()).await;
                let down = Error::new(ErrorKind::Unavailable, "down");
                request.read([Ok(Some(at(3))), Err(&down), Ok(None)], at(10));
            }
            drop(metrics.begin(RequestKind::Delete, "acme", "v", 2));
            metrics.begin(RequestKind::Delete, "acme", "v", 2).delete(&[Ok(true), Ok(false)]);
            metrics.begin(RequestKind::Write, "acme", "v", 5).fail(&Error::invalid_argument("no"));
        });
        let counter = |metric: &Metric, class, operation, status| {
            seen.counter(metric, &[("class", class), ("operation", operation), ("status", status)])
        };
        for (class, times) in [("gold", 1), ("silver", 2), ("default", 1)] {
            assert_eq!(counter(&REQUESTS, class, "read", "Unavailable"), times as u64);
            assert_eq!(counter(&REQUESTS, class, "read", "ok"), 0);
            for status in ["found", "absent", "Unavailable"] {
                assert_eq!(counter(&REQUEST_ROWS, class, "read", status), times as u64);
            }
            assert_eq!(seen.histogram(&FRESHNESS_SECONDS, &[("class", class)]), vec![7.0; times]);
            let labels = [("class", class), ("operation", "read"), ("status", "Unavailable")];
            assert_eq!(seen.histogram(&REQUEST_SECONDS, &labels), vec![0.02; times]);
        }
        assert_eq!(counter(&REQUESTS, "gold", "delete", "Dropped"), 1);
        assert_eq!(counter(&REQUEST_ROWS, "gold", "delete", "Dropped"), 2);
        assert_eq!(counter(&REQUEST_ROWS, "gold", "delete", "found"), 1);
        assert_eq!(counter(&REQUEST_ROWS, "gold", "write", "InvalidArgument"), 5);
        assert_eq!(spans[0], "fstore.request operation=read tenant=acme view=v rows=3 status=Unavailable");
        assert!(spans[4].ends_with("status=Dropped"));
    }

    #[test]
    fn the_freshness_of_a_large_request_is_that_of_a_sample_from_all_over_it() {
        let (seen, _) = within(async || {
            let metrics = classes();
            let request = metrics.begin(RequestKind::Read, "acme", "v", 95);
            request.read((0..95).map(|age| Ok(Some(at(100 - age)))), at(100));
        });
        let ages: Vec<f64> = (0..10).map(|n| f64::from(n * 10)).collect();
        assert_eq!(seen.histogram(&FRESHNESS_SECONDS, &[("class", "gold")]), ages);
    }

    #[test]
    fn superseded_and_conflicting_writes_are_told_apart() {
        let (seen, _) = within(async || {
            let metrics = classes();
            let clock = ManualClock::at(at(100));
            let map = MapStore::new(Arc::new(clock.clone()));
            // The last writer runs into others every time.
            let store = FaultyBackend::new(Arc::new(map), |call| match call.operation {
                Operation::Put if call.number >= 2 => Fault::Refuse,
                _ => Fault::None,
            });
            let store = OnlineStore::builder(Arc::new(store)).clock(clock).build().unwrap();
            let id = |n: i64| EntityKey::new("id", n).unwrap();
            let write = |n, seconds| FeatureWrite::new(id(n), [("a", 1i64)]).at(at(seconds));
            let batches = [vec![write(1, 9), write(2, 9)], vec![write(1, 8), write(3, 9)], vec![write(4, 9)]];
            for batch in batches {
                let request = metrics.begin(RequestKind::Write, "acme", "v", batch.len());
                request.write(&store.batch_write("acme", "v", batch).await.unwrap());
            }
        });
        let rows = |status| {
            let labels = [("class", "gold"), ("operation", "write"), ("status", status)];
            seen.counter(&REQUEST_ROWS, &labels)
        };
        assert_eq!([rows("applied"), rows("superseded"), rows("Conflict")], [3, 1, 1]);
    }

    #[test]
    fn switched_off_it_counts_nothing() {
        let (seen, _) = within(async || {
            let metrics = RequestMetrics::off();
            metrics.begin(RequestKind::Read, "acme", "v", 1).read([Ok(None)], START);
            drop(metrics.begin(RequestKind::Write, "acme", "v", 1));
        });
        assert!(seen.is_empty());
    }
}
