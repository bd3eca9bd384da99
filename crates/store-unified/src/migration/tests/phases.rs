//! In every phase the two stores together keep every promise of one.

use std::collections::HashSet;

use feature_core::{CallContext, Clock, PutOutcome, RecordKey, RecordPut, Result, VersionedRecord};
use store_testkit::{BackendFactory, Verdict, async_trait, run_cases};

use super::*;
use crate::migration::{Entry, Phase, ledger::Ledger};

/// Every tenant that is called for migrates, in a phase, or there is a permanent mirror.
struct Factory(Option<Phase>);

#[async_trait]
impl BackendFactory for Factory {
    fn name(&self) -> &'static str {
        "mirrored"
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> std::result::Result<Backend, String> {
        let map = |clock: &Arc<dyn Clock>| Arc::new(MapStore::new(Arc::clone(clock)));
        let (old, new) =
            (("old".to_owned(), map(&clock) as Backend), ("new".to_owned(), map(&clock) as Backend));
        let mirror = MirrorSettings { to: "new".to_owned(), required: true };
        let mirror = Some(mirror).filter(|_| self.0.is_none());
        let mirrored = Mirrored::new(old, vec![new], mirror, clock, SETTINGS).map_err(|e| e.to_string())?;
        match self.0 {
            None => Ok(Arc::new(mirrored)),
            Some(phase) => Ok(Arc::new(Enrolling { mirrored, phase, tenants: Mutex::default() })),
        }
    }
}

/// Puts each tenant into a phase when it is first called for.
#[derive(Debug)]
struct Enrolling {
    mirrored: Mirrored,
    phase: Phase,
    tenants: Mutex<HashSet<String>>,
}

impl Enrolling {
    async fn enrol<'a>(&self, keys: impl Iterator<Item = &'a RecordKey>) {
        let new: Vec<String> = {
            let mut tenants = self.tenants.lock().unwrap();
            keys.map(|key| key.view().tenant().to_owned())
                .filter(|name| tenants.insert(name.clone()))
                .collect()
        };
        for tenant in new {
            let watch = self.mirrored.watch();
            let call = CallContext::with_timeout(SETTINGS.lease);
            let change = |ledger: &mut Ledger| {
                let scope = Scope::tenant(&tenant)?;
                ledger.set(&scope, Entry::new(&scope, "new", self.phase, watch.clock.now()));
                Ok(())
            };
            // It fails where the case has closed the stores, and so does what follows.
            let _ = Ledger::change(&**self.mirrored.source(), &*watch.clock, call, change).await;
            let _ = watch.look(call).await;
        }
    }
}

impl feature_core::BackendWrapper for Enrolling {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.mirrored
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.enrol(keys.iter()).await;
        self.mirrored.get(keys, call).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        self.enrol(puts.iter().map(|put| &put.key)).await;
        self.mirrored.put(puts, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.enrol(keys.iter()).await;
        self.mirrored.delete(keys, call).await
    }
}

async fn conforms(phase: Option<Phase>) {
    let results = run_cases(Arc::new(Factory(phase)), "").await;
    assert!(results.len() > 100);
    let failed: Vec<_> =
        results.into_iter().filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_))).collect();
    assert!(failed.is_empty(), "{phase:?}: {failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_permanent_mirror_every_promise_is_kept() {
    conforms(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_source_is_read_every_promise_is_kept() {
    conforms(Some(Phase::Copying)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_target_is_read_every_promise_is_kept() {
    conforms(Some(Phase::CutOver)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_target_alone_is_used_every_promise_is_kept() {
    conforms(Some(Phase::Finished)).await;
}
