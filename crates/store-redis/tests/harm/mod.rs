//! What tests that do harm wait for.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::common::{open, read};

/// How long past its deadline a call may last: two cores run the servers, the load and other tests.
pub(crate) const SLACK: Duration = Duration::from_millis(750);
/// How long recovery may take.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);

/// A store whose server is not there opens only lazily, fails meanwhile, and serves once it has been started.
pub(crate) async fn opens_lazily(
    url: &str,
    start: impl AsyncFnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let error = open(url).await.err().ok_or("a store opened without its server")?;
    let first = if url.contains('?') { '&' } else { '?' };
    // Not even calls that are never tried again may be needed for the store to learn where its servers are.
    let store =
        open(&format!("{url}{first}connect_lazily=true&max_retries=0")).await.map_err(|e| e.to_string())?;
    let refused = read(&store, 1).await.err().ok_or("a read without a server gave something")?;
    if !error.is_retryable() || !refused.is_retryable() {
        return Err(format!("errors that do not pass: {error}; {refused}"));
    }
    start().await?;
    let began = Instant::now();
    loop {
        match read(&store, 1).await {
            Ok(Some(7)) => return Ok(()),
            Err(error) if error.is_retryable() && began.elapsed() < RECOVERY => {}
            found => return Err(format!("{found:?} was read after {:?}", began.elapsed())),
        }
        sleep(Duration::from_millis(20)).await;
    }
}
