//! How far an ingest is: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use feature_ingest::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::say;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far it is until it is dropped.
pub(crate) enum Shown {
    Bar(ProgressBar),
    Lines(Mutex<Instant>),
}

impl Shown {
    pub(crate) fn new() -> Self {
        match io::stderr().is_terminal() {
            true => Self::Bar(ProgressBar::new_spinner()),
            false => Self::Lines(Mutex::new(Instant::now())),
        }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        let Progress { read, written, rejected, bytes, total_bytes, .. } = *progress;
        let state = format!("{read} rows read, {written} written, {rejected} rejected");
        match self {
            Self::Bar(bar) => {
                if bar.length() != total_bytes {
                    let template = "{bar:40} {percent}%  {msg}  {elapsed} (still {eta})";
                    bar.set_length(total_bytes.unwrap_or_default());
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        bar.set_style(style);
                    }
                }
                bar.set_position(bytes);
                bar.set_message(state);
                bar.tick();
            }
            Self::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    say(state);
                }
            }
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
