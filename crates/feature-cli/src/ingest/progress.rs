//! How far an ingest is: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal};
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::worker::Tally;
use crate::exit::say;

/// Shows how far it is until it is dropped.
pub(super) async fn show(tally: &Tally, total: Option<u64>) {
    if io::stderr().is_terminal() {
        bar(tally, total).await;
    } else {
        lines(tally).await;
    }
}

async fn bar(tally: &Tally, total: Option<u64>) {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:40} {percent}%  {msg}  {elapsed} (still {eta})"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let bar = ClearOnDrop(bar);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        bar.0.set_position(tally.position.load(Ordering::Relaxed));
        bar.0.set_message(state(tally));
        bar.0.tick();
    }
}

struct ClearOnDrop(ProgressBar);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn lines(tally: &Tally) {
    let every = Duration::from_secs(5);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    loop {
        ticks.tick().await;
        say(state(tally));
    }
}

fn state(tally: &Tally) -> String {
    let [read, written, rejected] =
        [&tally.read, &tally.written, &tally.rejected].map(|count| count.load(Ordering::Relaxed));
    format!("{read} rows read, {written} written, {rejected} rejected")
}
