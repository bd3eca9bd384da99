//! Shows how far something has come while it goes on.

use std::time::Duration;

use indicatif::ProgressBar;

/// Shows a message on the terminal, if there is one, until the work has ended.
pub(crate) async fn shown<T>(message: impl Fn() -> String, work: impl Future<Output = T>) -> T {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => spinner.set_message(message()),
        }
    };
    spinner.finish_and_clear();
    done
}
