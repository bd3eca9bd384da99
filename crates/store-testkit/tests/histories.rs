//! The checker of histories finds nothing wrong with a good store, and each anomaly in one that has it.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::sync::{Arc, Mutex};

use feature_core::{
    BackendWrapper, CallContext, OnlineStoreBackend, Precondition, PutOutcome, RecordKey, RecordPut, Result,
    SystemClock, VersionedRecord,
};
use store_testkit::MapStore;
use store_testkit::history::{HistoryPlan, histories};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Anomaly {
    /// A read gives what was there before the last write.
    StaleRead,
    /// A put looks, waits, and then writes whatever happened meanwhile.
    LostUpdate,
    /// A put that is refused is there for a moment.
    DirtyRead,
    /// A record that was removed comes back.
    ResurrectedDelete,
    /// `Unchanged(None)` is judged by what was there when the call came.
    TwoWinners,
}

#[derive(Debug)]
struct Anomalous {
    store: MapStore,
    anomaly: Anomaly,
    /// What was there before.
    before: Mutex<Option<VersionedRecord>>,
}

impl Anomalous {
    fn open(anomaly: Anomaly) -> Arc<dyn OnlineStoreBackend> {
        let store = MapStore::new(Arc::new(SystemClock));
        Arc::new(Self { store, anomaly, before: Mutex::default() })
    }

    async fn stored(&self, key: &RecordKey, call: CallContext) -> Option<VersionedRecord> {
        self.store.get(std::slice::from_ref(key), call).await.remove(0).unwrap()
    }

    async fn write(&self, put: RecordPut, call: CallContext) -> Result<PutOutcome> {
        self.store.put(vec![put], call).await.remove(0)
    }

    /// Whatever is there.
    async fn force(&self, mut put: RecordPut, call: CallContext) {
        put.precondition = Precondition::Unchanged(self.stored(&put.key, call).await);
        assert_eq!(self.write(put, call).await.unwrap(), PutOutcome::Stored);
    }
}

impl BackendWrapper for Anomalous {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.store
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let stale = self.before.lock().unwrap().take();
        match (self.anomaly, stale) {
            (Anomaly::StaleRead, Some(stale)) => vec![Ok(Some(stale))],
            _ => self.store.get(keys, call).await,
        }
    }

    async fn put(&self, mut puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let put = puts.remove(0);
        let before = self.stored(&put.key, call).await;
        self.before.lock().unwrap().clone_from(&before);
        let outcome = match self.anomaly {
            Anomaly::LostUpdate if matches!(put.precondition, Precondition::Unchanged(Some(_))) => {
                let holds = put.precondition == Precondition::Unchanged(before);
                tokio::task::yield_now().await;
                if holds {
                    self.force(put, call).await;
                    Ok(PutOutcome::Stored)
                } else {
                    Ok(PutOutcome::Refused(None))
                }
            }
            Anomaly::TwoWinners if put.precondition == Precondition::Unchanged(None) && before.is_none() => {
                tokio::task::yield_now().await;
                self.force(put, call).await;
                Ok(PutOutcome::Stored)
            }
            Anomaly::DirtyRead => match self.write(put.clone(), call).await {
                Ok(PutOutcome::Refused(Some(stored))) => {
                    let back = RecordPut { bytes: stored.bytes, ..put.clone() };
                    self.force(put, call).await;
                    tokio::task::yield_now().await;
                    self.force(back, call).await;
                    Ok(PutOutcome::Refused(None))
                }
                outcome => outcome,
            },
            _ => self.write(put, call).await,
        };
        vec![outcome]
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        let before = self.stored(&keys[0], call).await;
        let answer = self.store.delete(keys, call).await;
        if let (Anomaly::ResurrectedDelete, Some(before)) = (self.anomaly, before) {
            let header = feature_core::RecordHeader::parse(&before.bytes).unwrap();
            let (event_time, shape) = (header.event_time, header.shape);
            let (key, precondition) = (keys[0].clone(), Precondition::Unchanged(None));
            let put = RecordPut { key, bytes: before.bytes, event_time, shape, ttl: None, precondition };
            tokio::task::yield_now().await;
            self.write(put, call).await.unwrap();
        }
        answer
    }
}

#[tokio::test]
async fn a_good_store_has_linearizable_histories() {
    let store: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(SystemClock)));
    let plan = HistoryPlan { histories: 500, ..HistoryPlan::default() };
    let report = histories(&store, "good", &plan).await.unwrap();
    assert_eq!((report.answered, report.in_doubt, report.failed), (12_000, 0, 0));
}

#[tokio::test]
async fn each_anomaly_is_found() {
    use Anomaly::{DirtyRead, LostUpdate, ResurrectedDelete, StaleRead, TwoWinners};
    for anomaly in [StaleRead, LostUpdate, DirtyRead, ResurrectedDelete, TwoWinners] {
        for seed in [1, 1_000, 1_000_000] {
            let plan = HistoryPlan { histories: 60, seed, ..HistoryPlan::default() };
            let wrong = histories(&Anomalous::open(anomaly), "wrong", &plan).await;
            assert!(wrong.is_err(), "{anomaly:?} is not found with seed {seed}");
        }
    }
}
