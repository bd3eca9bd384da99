//! A store that was opened before its servers could be reached.

use std::sync::{Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use aerospike::{Key, ReadPolicy, Value};
use feature_core::{Error, ErrorKind, Result};

use crate::backend::Shared;
use crate::connect::admin;
use crate::error::{BACKEND, from_client};
use crate::health::Facts;

/// How often the servers are tried.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Why no call can be made yet, until one can.
pub(crate) struct Absence {
    over: OnceLock<()>,
    why: Mutex<Option<Error>>,
}

impl Absence {
    /// There is none without a reason for it.
    pub(crate) fn new(why: Option<Error>) -> Self {
        let over = OnceLock::new();
        if why.is_none() {
            let _ = over.set(());
        }
        Self { over, why: Mutex::new(why) }
    }

    /// # Errors
    /// What the last try came to.
    pub(crate) fn is_over(&self) -> Result<()> {
        match self.over.get() {
            Some(()) => Ok(()),
            None => self.why.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err),
        }
    }

    /// Tries the servers until one can be asked, or the store is dropped or closed.
    pub(crate) async fn end(shared: Weak<Shared>) {
        loop {
            tokio::time::sleep(TRY_EVERY).await;
            let Some(shared) = shared.upgrade().filter(|shared| !shared.is_closed()) else { return };
            match attempt(&shared).await {
                Ok(()) => {
                    let _ = shared.absence.over.set(());
                    return;
                }
                Err(error) => {
                    *shared.absence.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        }
    }
}

/// Whether the namespace is there, and the client knows which server has what of it: before it does, its
/// calls say that there is no namespace.
async fn attempt(shared: &Shared) -> Result<()> {
    let namespace = shared.config.namespace.as_str();
    Facts::ask(&shared.client, admin(&shared.config), namespace).await?;
    let key = Key::new(namespace, "", Value::Int(0)).map_err(|error| from_client(&error, namespace))?;
    match shared.client.exists(&ReadPolicy::default(), &key).await {
        // That no server can be found for the key is the client's own finding.
        Err(error) if error.server_result_code().is_none() => {
            let message = format!("{}: not known yet what is where: {error}", shared.config.name());
            Err(Error::new(ErrorKind::Unavailable, message).with_backend(BACKEND))
        }
        _ => Ok(()),
    }
}
