//! What tests that do harm wait for.

use std::time::Duration;

/// How long past its deadline a call may last: two cores run the servers, the load and other tests.
pub(crate) const SLACK: Duration = Duration::from_millis(750);
/// How long recovery may take.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);
