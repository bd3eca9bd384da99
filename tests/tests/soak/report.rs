//! What a soak was, in Markdown.

use std::fmt::Write;
use std::time::Duration;

use super::server::Taken;
use super::work::{Tally, today};

/// A life of the server shorter than this is not judged: it has not yet warmed up.
const JUDGED: Duration = Duration::from_secs(120);
/// What the end of a life may take more than its beginning, in parts and beyond.
const GROWTH: f64 = 1.25;
const MEMORY_MB: f64 = 16.0;
const FILES: f64 = 16.0;

/// What was done to it.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) migrated: u64,
    pub(crate) aborted: u64,
    pub(crate) purged: u64,
    pub(crate) reloads: u64,
    pub(crate) store_killed: u64,
    pub(crate) store_paused: u64,
    pub(crate) server_killed: u64,
    /// Memory of the first store at the end of each cycle, in MB.
    pub(crate) store_mb: Vec<f64>,
}

/// Samples of one life of the server, one a second.
#[derive(Debug, Default)]
pub(crate) struct Life(pub(crate) Vec<Taken>);

impl Life {
    /// The medians of the second and of the last fifth, since the first is the start.
    fn ends(&self, what: fn(&Taken) -> f64) -> (f64, f64) {
        let fifth = self.0.len() / 5;
        let median = |samples: &[Taken]| {
            let mut values: Vec<_> = samples.iter().map(what).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        (median(&self.0[fifth..2 * fifth]), median(&self.0[self.0.len() - fifth..]))
    }

    /// What has grown.
    pub(crate) fn grown(&self) -> Option<String> {
        if Duration::from_secs(self.0.len() as u64) < JUDGED {
            return None;
        }
        RESOURCES.iter().find_map(|(name, what, beyond)| {
            let (first, last) = self.ends(*what);
            (last > first * GROWTH + beyond).then(|| format!("{name} grew from {first:.0} to {last:.0}"))
        })
    }
}

type Resource = (&'static str, fn(&Taken) -> f64, f64);

const RESOURCES: [Resource; 4] = [
    ("memory, MB", |taken| taken.memory_mb, MEMORY_MB),
    ("open files", |taken| taken.files, FILES),
    ("of them sockets", |taken| taken.sockets, FILES),
    ("threads", |taken| taken.threads, FILES),
];

/// The report; `wrong` is what ended it.
pub(crate) fn report(
    lasted: Duration,
    tally: &Tally,
    deeds: &Deeds,
    lives: &[Life],
    wrong: Option<&str>,
) -> String {
    use std::sync::atomic::Ordering::Relaxed;
    let build = if cfg!(debug_assertions) { "built without optimization" } else { "optimized" };
    let mut text = format!(
        "Run of {} for {} min {} s.\n\n| | |\n|---|---|\n",
        today(),
        lasted.as_secs() / 60,
        lasted.as_secs() % 60
    );
    let mut line = |what: &str, number: u64| {
        let _ = writeln!(text, "| {what} | {number} |");
    };
    line("writes acknowledged over HTTP, each read back and compared", tally.writes.load(Relaxed));
    line("of them, attempts that had to be repeated", tally.repeated.load(Relaxed));
    line("records compared with what they must be", tally.checked.load(Relaxed));
    line("records that expired and were not served again", tally.expired.load(Relaxed));
    line("messages of the stream", tally.messages.load(Relaxed));
    line("poisoned ones, each a dead letter", tally.poisoned.load(Relaxed));
    line("tenants migrated between stores and finished", deeds.migrated);
    line("migrations aborted after the cut-over", deeds.aborted);
    line("tenants purged", deeds.purged);
    line("reloads of the settings", deeds.reloads);
    line("`kill -9` of the store, and a restart", deeds.store_killed);
    line("seconds that the store stood still", deeds.store_paused);
    line("`kill -9` of the server, and a restart", deeds.server_killed);
    let _ = writeln!(
        text,
        "\nThe server ({build}), sampled each second: medians of the second and the last \
        fifth of each of its lives.\n\n| life | seconds | memory, MB | open files | of them sockets | threads |\n|---|---|---|---|---|---|"
    );
    for (number, life) in lives.iter().enumerate() {
        let cells: Vec<_> = RESOURCES.iter().map(|(_, what, _)| life.ends(*what)).collect();
        let cells: Vec<_> = cells.iter().map(|(first, last)| format!("{first:.0} → {last:.0}")).collect();
        let judged =
            if Duration::from_secs(life.0.len() as u64) < JUDGED { " (too short to judge)" } else { "" };
        let _ = writeln!(text, "| {} | {}{judged} | {} |", number + 1, life.0.len(), cells.join(" | "));
    }
    if let (Some(first), Some(last)) = (deeds.store_mb.first(), deeds.store_mb.last()) {
        let _ = writeln!(
            text,
            "\nThe first Redis server had {first:.1} MB after the first cycle, {last:.1} MB after the last."
        );
    }
    let verdict = wrong.map_or("Every check held.".to_owned(), |wrong| format!("**Failed:** {wrong}"));
    let _ = writeln!(text, "\n{verdict}");
    text
}
