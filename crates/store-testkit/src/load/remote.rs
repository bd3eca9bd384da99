//! A load at a place of a network.

use std::sync::Arc;

use feature_core::OnlineStore;

use super::{Load, LoadPlan, LoadReport, Verification};
use crate::servers::NetworkClient;

/// A client at a place of a [`Network`](crate::servers::Network), at work.
pub struct RemoteLoad {
    client: NetworkClient,
    store: OnlineStore,
    load: Load,
}

impl RemoteLoad {
    /// Opens a store from there, and starts the workers.
    ///
    /// # Errors
    /// The store cannot be opened, and as for [`Load::start`].
    pub async fn start<E: ToString>(
        client: NetworkClient,
        open: impl Future<Output = Result<OnlineStore, E>> + Send + 'static,
        tenant: &str,
        plan: LoadPlan,
    ) -> Result<Self, String> {
        let tenant = tenant.to_owned();
        let started = client.run(async move {
            let store = open.await.map_err(|e| e.to_string())?;
            let load = Load::start(&store, &tenant, plan)?;
            Ok::<_, String>((store, load))
        });
        let (store, load) = started.await??;
        Ok(Self { client, store, load })
    }

    /// The load, to wait for what happens to it.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Ends the workers, each after the call it is in.
    pub async fn stop(self) -> RemoteReport {
        let Self { client, store, load } = self;
        RemoteReport { client, store, report: Arc::new(load.stop().await) }
    }
}

/// How a load went, and the client that it was.
pub struct RemoteReport {
    client: NetworkClient,
    store: OnlineStore,
    report: Arc<LoadReport>,
}

impl RemoteReport {
    /// How it went.
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// Reads everything back from there; see [`LoadReport::verify`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn verify(&self) -> Result<Verification, String> {
        let (store, report) = (self.store.clone(), Arc::clone(&self.report));
        self.client.run(async move { report.verify(&store).await }).await?
    }

    /// What was written and how much of it is gone, in a line.
    pub fn summary(&self, verification: &Verification) -> String {
        let writes = self.report.writes();
        let failed = |in_doubt| {
            let errors = writes.errors.iter().filter(|(class, _)| class.in_doubt == in_doubt);
            errors.map(|(_, stats)| stats.rows).sum::<usize>()
        };
        format!(
            "rows acknowledged {}, in doubt {}, refused {}; of {} newest acknowledged values {} lost, {} stale reads",
            writes.rows_ok,
            failed(true),
            failed(false),
            verification.checked,
            verification.lost.len(),
            self.report.stale(),
        )
    }
}
