//! The settings as they are kept, to be compared with those that are served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{Error, ErrorKind, Result};
use store_unified::Settings;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::settings::ServerSettings;

/// How long what was read holds: however often a page is asked for, the file is read no more often.
const HOLDS: Duration = Duration::from_secs(2);

type Read = dyn Fn() -> Result<(Settings, ServerSettings)> + Send + Sync;
/// What the settings say now, or what is wrong with them.
pub(crate) type Found = Arc<Result<(Settings, ServerSettings)>>;

/// Where the settings are kept, if anywhere.
#[derive(Default)]
pub(crate) struct Kept {
    read: Option<Arc<Read>>,
    known: Mutex<Option<(Instant, Found)>>,
}

impl Kept {
    pub(crate) fn by(read: impl Fn() -> Result<(Settings, ServerSettings)> + Send + Sync + 'static) -> Self {
        Self { read: Some(Arc::new(read)), known: Mutex::default() }
    }

    /// The settings as they are now; `None` where they are kept nowhere.
    pub(crate) async fn get(&self) -> Option<Found> {
        let read = Arc::clone(self.read.as_ref()?);
        let mut known = self.known.lock().await;
        if let Some((at, found)) = &*known
            && at.elapsed() < HOLDS
        {
            return Some(Arc::clone(found));
        }
        let ended = tokio::task::spawn_blocking(move || read()).await;
        let found =
            ended.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the settings could not be read")));
        let found = Arc::new(found);
        *known = Some((Instant::now(), Arc::clone(&found)));
        Some(found)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("anywhere", &self.read.is_some()).finish_non_exhaustive()
    }
}
