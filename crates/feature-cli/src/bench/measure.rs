//! What was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::run::Sent;

/// Three digits, up to an hour.
const DIGITS: u8 = 3;
const LONGEST: u64 = 3_600_000_000_000;
/// How many different reasons of failures are kept.
const REASONS: usize = 10;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

/// When a call was due, sent and answered, since the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) due: Duration,
    pub(crate) sent: Duration,
    pub(crate) answered: Duration,
}

/// The calls of a kind.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) calls: u64,
    /// How many of those failed, as a whole or in some rows.
    pub(crate) failed: u64,
    /// Rows read or written.
    pub(crate) rows: u64,
    /// Rows that there was something of, where that is known.
    pub(crate) found: u64,
    /// Nanoseconds from sending to the answer.
    pub(crate) service: Histogram<u64>,
    /// Nanoseconds from when the call was due to the answer.
    pub(crate) response: Histogram<u64>,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Second {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    /// Of the response times.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
}

/// All that was measured after the warm-up.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) reads: Series,
    pub(crate) writes: Series,
    /// By when calls were answered.
    pub(crate) seconds: Vec<Second>,
    /// Why calls failed, and how many did so.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Calls that were due and had not begun at the end. What they had waited until then counts as response time.
    pub(crate) not_begun: u64,
    /// How long was measured.
    pub(crate) lasted: Duration,
    warm_up: Duration,
    window: Histogram<u64>,
}

impl Measured {
    pub(crate) fn new(warm_up: Duration) -> Self {
        Self {
            reads: Series::new(),
            writes: Series::new(),
            seconds: Vec::new(),
            reasons: BTreeMap::new(),
            not_begun: 0,
            lasted: Duration::ZERO,
            warm_up,
            window: histogram(),
        }
    }

    /// A call was answered. What was due during the warm-up is not counted.
    pub(crate) fn record(&mut self, times: Times, sent: &Sent) {
        let Some(second) = times.answered.checked_sub(self.warm_up) else { return };
        if times.due < self.warm_up {
            return;
        }
        self.turn_to(second.as_secs() as usize);
        let response = times.answered.saturating_sub(times.due);
        let series = if sent.kind == Kind::Read { &mut self.reads } else { &mut self.writes };
        series.calls += 1;
        series.rows += sent.rows;
        series.found += sent.found;
        note(&mut series.service, times.answered.saturating_sub(times.sent));
        note(&mut series.response, response);
        note(&mut self.window, response);
        let failed = u64::from(sent.failure.is_some());
        series.failed += failed;
        if let Some(now) = self.seconds.last_mut() {
            now.calls += 1;
            now.failed += failed;
        }
        if let Some(reason) = &sent.failure {
            self.because(reason);
        }
    }

    /// A call of this kind was due and has not begun until the end.
    pub(crate) fn record_waiting(&mut self, kind: Kind, due: Duration, end: Duration) {
        if due < self.warm_up {
            return;
        }
        self.not_begun += 1;
        let series = if kind == Kind::Read { &mut self.reads } else { &mut self.writes };
        note(&mut series.response, end.saturating_sub(due));
    }

    /// Nothing more is measured.
    pub(crate) fn end(&mut self, elapsed: Duration) {
        self.lasted = elapsed.saturating_sub(self.warm_up);
        self.close_second();
    }

    fn because(&mut self, reason: &str) {
        let is_kept = self.reasons.contains_key(reason) || self.reasons.len() < REASONS;
        let reason = if is_kept { reason } else { "other reasons" };
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    fn turn_to(&mut self, second: usize) {
        // The answers of two threads may change places around the turn of a second.
        if second >= self.seconds.len() {
            self.close_second();
            self.seconds.resize_with(second + 1, Second::default);
        }
    }

    fn close_second(&mut self) {
        if let Some(now) = self.seconds.last_mut() {
            now.p50 = Duration::from_nanos(self.window.value_at_quantile(0.5));
            now.p99 = Duration::from_nanos(self.window.value_at_quantile(0.99));
            now.longest = Duration::from_nanos(self.window.max());
        }
        self.window.reset();
    }
}

impl Series {
    fn new() -> Self {
        Self { calls: 0, failed: 0, rows: 0, found: 0, service: histogram(), response: histogram() }
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants, and right")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST, DIGITS).expect("the bounds are those of a histogram")
}

fn note(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}
