//! What a store is asked, and how it answers, in figures.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome, RecordKey,
    RecordPut, Result, Scope, VersionedRecord,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tracing::{Instrument, Span, debug_span, field};

use crate::observe::call::Call;
use crate::observe::names::{STORE_CALL_SECONDS, STORE_CALLS, STORE_ROWS};
use crate::observe::series::{Series, Status};

/// Counts the calls of a store, their rows, and how long they take, by operation and status, and makes a span
/// of each. A call that its caller does not wait for to the end counts as `Dropped`.
pub struct Observed {
    store: Arc<dyn OnlineStoreBackend>,
    name: String,
    /// By [`Operation`].
    series: [Arc<Series>; 7],
}

#[derive(Clone, Copy)]
enum Operation {
    Get,
    Put,
    Delete,
    Scan,
    Purge,
    Check,
    Close,
}

const OPERATIONS: [&str; 7] = ["get", "put", "delete", "scan", "purge", "check", "close"];

impl Observed {
    /// Observes the store of this name. Counts into the recorder that is installed now.
    pub fn new(store: Arc<dyn OnlineStoreBackend>, name: &str) -> Self {
        let metrics = [&STORE_CALLS, &STORE_ROWS, &STORE_CALL_SECONDS];
        let series =
            OPERATIONS.map(|operation| Arc::new(Series::new(metrics, [name, operation], &[Status::OK])));
        Self { store, name: name.to_owned(), series }
    }

    fn begin(&self, operation: Operation, rows: usize, span: Span) -> Call {
        Call::begin(Some(Arc::clone(&self.series[operation as usize])), rows, span)
    }

    /// A call with rows, of which this is the first.
    async fn rows<T>(
        &self,
        operation: Operation,
        first: Option<&RecordKey>,
        rows: usize,
        work: impl Future<Output = Vec<Result<T>>>,
    ) -> Vec<Result<T>> {
        let call = self.begin(operation, rows, self.span(operation, first, rows));
        let answers = work.instrument(call.span()).await;
        call.answered(answers.iter().map(|row| row.as_ref().map(|_| Status::OK)));
        answers
    }

    /// A call without rows; `rows` says how many its answer comes to.
    async fn whole<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>>,
        rows: impl FnOnce(&T) -> u64,
    ) -> Result<T> {
        let mut call = self.begin(operation, 0, self.span(operation, None, 0));
        let answer = work.instrument(call.span()).await;
        match &answer {
            Ok(answer) => call.rows(Status::OK, rows(answer) as usize),
            Err(error) => drop(call.failed(error)),
        }
        call.end();
        answer
    }

    fn span(&self, operation: Operation, first: Option<&RecordKey>, rows: usize) -> Span {
        debug_span!(
            "fstore.store",
            store = self.name,
            operation = OPERATIONS[operation as usize],
            tenant = first.map(|key| key.view().tenant()),
            view = first.map(|key| key.view().view()),
            rows,
            status = field::Empty
        )
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("name", &self.name)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStoreBackend for Observed {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.rows(Operation::Get, keys.first(), keys.len(), self.store.get(keys, call)).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let (first, rows) = (puts.first().map(|put| put.key.clone()), puts.len());
        self.rows(Operation::Put, first.as_ref(), rows, self.store.put(puts, call)).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.rows(Operation::Delete, keys.first(), keys.len(), self.store.delete(keys, call)).await
    }

    /// Rows count as they come, the call when the scan has ended or is dropped, which is how one ends it.
    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let span = self.span(Operation::Scan, None, 0);
        let mut call = Ended(Some(self.begin(Operation::Scan, 0, span)));
        let rows = self.store.scan(scope).inspect(move |row| {
            if let Some(call) = &mut call.0 {
                let status = row.as_ref().map_or_else(|error| call.failed(error), |_| Status::OK);
                call.rows(status, 1);
            }
        });
        rows.boxed()
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.whole(Operation::Purge, self.store.purge(scope, progress), |report| report.removed).await
    }

    async fn check(&self) -> Result<Health> {
        self.whole(Operation::Check, self.store.check(), |_| 0).await
    }

    async fn close(&self) -> Result<()> {
        self.whole(Operation::Close, self.store.close(), |()| 0).await
    }
}

/// A call that ends well by being dropped.
struct Ended(Option<Call>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use feature_core::{Error, ErrorKind, Scope};
    use metrics::with_local_recorder;
    use metrics_util::debugging::DebuggingRecorder;
    use store_testkit::{Fault, FaultyBackend, Operation as Method};

    use super::*;
    use crate::observe::testing::{Seen, Spans};
    use crate::wrappers::testing::{call, keys, ms, put_of, store_of, unavailable};

    /// A store whose second read fails for one row, whose third fails for all, and whose fourth hangs.
    async fn troubled() -> FaultyBackend {
        FaultyBackend::new(store_of(&keys(3), "x").await, |call| match (call.operation, call.number) {
            (Method::Get, 1) => Fault::FailRow(1, Error::new(ErrorKind::Throttled, "slow down")),
            (Method::Get, 2) => Fault::Fail(unavailable()),
            (Method::Get, 3) => Fault::Delay(ms(3_600_000)),
            (Method::Check, _) => Fault::Fail(unavailable()),
            _ => Fault::None,
        })
    }

    async fn do_everything(store: &Observed) {
        let keys = keys(3);
        for _ in 0..4 {
            let _ = tokio::time::timeout(ms(50), store.get(&keys, call(ms(1000)))).await;
        }
        store.put(vec![put_of(&keys[0], "y")], call(ms(1000))).await;
        store.delete(&keys[..2], call(ms(1000))).await;
        let scope = Scope::tenant("acme").unwrap();
        assert_eq!(store.scan(&scope).count().await, 1);
        assert_eq!(store.purge(&scope, &PurgeProgress::default()).await.unwrap().removed, 1);
        assert!(store.check().await.is_err());
        store.close().await.unwrap();
    }

    /// Metrics go to the recorder that is installed when they are first counted, so both are done within.
    fn with_recorder(work: impl AsyncFnOnce()) -> Seen {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        with_local_recorder(&recorder, || runtime.block_on(work()));
        Seen::new(snapshotter)
    }

    #[test]
    fn calls_and_rows_are_counted_by_what_became_of_them() {
        let seen = with_recorder(async || {
            let store = Observed::new(Arc::new(troubled().await), "main");
            do_everything(&store).await;
        });
        let counted = |metric, operation, status| {
            seen.counter(metric, &[("store", "main"), ("operation", operation), ("status", status)])
        };
        let calls = |operation, status| counted(&STORE_CALLS, operation, status);
        let rows = |operation, status| counted(&STORE_ROWS, operation, status);
        assert_eq!([calls("get", "ok"), calls("get", "Throttled"), calls("get", "Unavailable")], [1, 1, 1]);
        assert_eq!([rows("get", "ok"), rows("get", "Throttled"), rows("get", "Unavailable")], [5, 1, 3]);
        assert_eq!([calls("get", "Dropped"), rows("get", "Dropped")], [1, 3]);
        for (operation, number) in [("put", 1), ("delete", 2), ("scan", 1), ("purge", 1), ("close", 0)] {
            assert_eq!([calls(operation, "ok"), rows(operation, "ok")], [1, number], "{operation}");
        }
        assert_eq!([calls("check", "ok"), calls("check", "Unavailable")], [0, 1]);
        let seconds = |status| {
            let labels = [("store", "main"), ("operation", "get"), ("status", status)];
            seen.histogram(&STORE_CALL_SECONDS, &labels)
        };
        assert_eq!((seconds("ok"), seconds("Dropped")), (vec![0.0], vec![0.05]));
    }

    #[test]
    fn each_call_has_a_span_that_names_no_entity() {
        let spans = Spans::default();
        let _guard = tracing::subscriber::set_default(spans.clone());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = Observed::new(Arc::new(troubled().await), "main");
            do_everything(&store).await;
        });
        let seen = spans.seen();
        let of_reads = ["ok", "Throttled", "Unavailable", "Dropped"].map(|status| {
            format!("fstore.store store=main operation=get tenant=acme view=customers rows=3 status={status}")
        });
        assert_eq!(seen[..4], of_reads);
        assert_eq!(seen.len(), 10);
        assert_eq!(seen[6], "fstore.store store=main operation=scan rows=0 status=ok");
        assert!(!seen.concat().contains("customer_id"));
    }
}
