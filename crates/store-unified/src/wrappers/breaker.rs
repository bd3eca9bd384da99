//! When a circuit opens and closes: the rule, without calls and without a clock.
//!
//! The existing crates (`failsafe`, `recloser`) read the system's time, let any number of calls through while
//! they check whether the store is back, and know nothing of calls that nobody waits for any more.

use std::time::Duration;

use feature_core::Error;
use tokio::time::Instant;

/// When a circuit opens, and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitSettings {
    /// It opens after this many failed calls in a row. Default 10.
    pub in_a_row: u32,
    /// It opens when this share of the last hundred calls has failed: 0 to 1. Default 0.5.
    pub failure_rate: f64,
    /// A call that its caller gives up on counts as failed if it had this long, or half of the time it had
    /// been given. No longer than a fallback waits. Default 50 ms.
    pub slow: Duration,
    /// How often one call is let through while the circuit is open, to see whether the store is back.
    /// Default 500 ms.
    pub probe_every: Duration,
    /// The circuit closes when this many of these have succeeded, each right after the one before. Default 3.
    pub probes: u32,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self {
            in_a_row: 10,
            failure_rate: 0.5,
            slow: Duration::from_millis(50),
            probe_every: Duration::from_millis(500),
            probes: 3,
        }
    }
}

/// How many calls the failure rate covers.
const RECENT: u32 = 100;

/// A circuit's state, for gauges and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Closed,
    HalfOpen,
    Open,
}

/// The state of a circuit.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: CircuitSettings,
    state: State,
    /// How often it has opened or closed. What a call that began before has to say comes too late.
    era: u64,
}

#[derive(Debug)]
enum State {
    Closed(Recent),
    Open(Outage),
}

/// Why calls are refused.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) since: Instant,
    /// The last failure.
    pub(crate) error: Error,
    /// When a call is let through to see whether the store is back.
    pub(crate) next_probe: Instant,
    /// Calls that have succeeded, one after the other.
    passed: u32,
}

/// That a call may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permit {
    era: u64,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Good,
    Failed(Error),
    /// It says nothing about the store.
    Open,
}

impl Breaker {
    pub(crate) fn new(settings: CircuitSettings) -> Self {
        Self { settings, state: State::Closed(Recent::default()), era: 0 }
    }

    pub(crate) fn position(&self) -> Position {
        match &self.state {
            State::Closed(_) => Position::Closed,
            State::Open(outage) if outage.passed > 0 => Position::HalfOpen,
            State::Open(_) => Position::Open,
        }
    }

    pub(crate) fn outage(&self) -> Option<&Outage> {
        match &self.state {
            State::Closed(_) => None,
            State::Open(outage) => Some(outage),
        }
    }

    /// Whether a call may be sent now. What becomes of it has to be [recorded](Self::record).
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Permit, Outage> {
        if let State::Open(outage) = &mut self.state {
            if now < outage.next_probe {
                return Err(outage.clone());
            }
            // The others are refused until this one has ended; a probe that hangs does not hold them up for
            // ever.
            outage.next_probe = now + self.settings.probe_every;
        }
        Ok(Permit { era: self.era })
    }

    /// Takes note of how a call has ended.
    pub(crate) fn record(&mut self, permit: Permit, now: Instant, verdict: Verdict) {
        if permit.era != self.era {
            return;
        }
        let next = match (&mut self.state, verdict) {
            (State::Closed(_), Verdict::Open) => None,
            (State::Closed(recent), Verdict::Good) => {
                recent.add(false);
                None
            }
            (State::Closed(recent), Verdict::Failed(error)) => {
                recent.add(true);
                let next_probe = now + self.settings.probe_every;
                let outage = Outage { since: now, error, next_probe, passed: 0 };
                recent.is_bad(&self.settings).then_some(State::Open(outage))
            }
            (State::Open(outage), Verdict::Good) => {
                outage.passed += 1;
                outage.next_probe = now;
                (outage.passed >= self.settings.probes).then(|| State::Closed(Recent::default()))
            }
            (State::Open(outage), Verdict::Failed(error)) => {
                *outage = Outage { error, next_probe: now + self.settings.probe_every, passed: 0, ..*outage };
                None
            }
            (State::Open(outage), Verdict::Open) => {
                outage.next_probe = now;
                None
            }
        };
        if let Some(next) = next {
            self.state = next;
            self.era += 1;
        }
    }
}

/// How the last calls have ended.
#[derive(Debug, Default)]
struct Recent {
    /// A bit for each, 1 if it has failed; the last call's is the lowest.
    failed: u128,
    calls: u32,
    failed_in_a_row: u32,
}

impl Recent {
    fn add(&mut self, failed: bool) {
        self.failed = ((self.failed << 1) | u128::from(failed)) & ((1 << RECENT) - 1);
        self.calls = (self.calls + 1).min(RECENT);
        self.failed_in_a_row = if failed { self.failed_in_a_row.saturating_add(1) } else { 0 };
    }

    fn is_bad(&self, settings: &CircuitSettings) -> bool {
        let many = f64::from(self.failed.count_ones()) >= settings.failure_rate * f64::from(RECENT);
        self.failed_in_a_row >= settings.in_a_row || (self.calls == RECENT && many)
    }
}

#[cfg(test)]
mod tests {
    use feature_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    fn down() -> Error {
        Error::new(ErrorKind::Unavailable, "connection refused")
    }

    /// A call that ends at once; whether it was let through.
    fn call(breaker: &mut Breaker, now: Instant, verdict: Verdict) -> bool {
        let permit = breaker.admit(now);
        permit.map(|permit| breaker.record(permit, now, verdict)).is_ok()
    }

    fn opened(settings: CircuitSettings, now: Instant) -> Breaker {
        let mut breaker = Breaker::new(settings);
        (0..settings.in_a_row).for_each(|_| assert!(call(&mut breaker, now, Verdict::Failed(down()))));
        assert_eq!(breaker.position(), Position::Open);
        breaker
    }

    #[test]
    fn it_opens_after_so_many_failures_in_a_row() {
        let (mut breaker, now) = (Breaker::new(CircuitSettings::default()), Instant::now());
        for verdict in [Verdict::Good, Verdict::Open] {
            (0..9).for_each(|_| assert!(call(&mut breaker, now, Verdict::Failed(down()))));
            assert_eq!(breaker.position(), Position::Closed);
            assert!(call(&mut breaker, now, verdict));
        }
        assert!(call(&mut breaker, now, Verdict::Failed(down())), "what says nothing ends no row");
        assert_eq!(breaker.position(), Position::Open);
    }

    #[test]
    fn it_opens_when_half_of_the_last_hundred_calls_have_failed() {
        let (mut breaker, now) = (Breaker::new(CircuitSettings::default()), Instant::now());
        (0..300).for_each(|_| assert!(call(&mut breaker, now, Verdict::Good)));
        for _ in 0..49 {
            assert!(call(&mut breaker, now, Verdict::Failed(down())));
            assert!(call(&mut breaker, now, Verdict::Good));
        }
        assert_eq!(breaker.position(), Position::Closed);
        assert!(call(&mut breaker, now, Verdict::Failed(down())));
        assert_eq!(breaker.position(), Position::Open);
        assert_eq!(breaker.outage().unwrap().error.message(), "connection refused");
    }

    #[test]
    fn what_began_before_it_opened_neither_closes_it_nor_opens_it_again() {
        let (settings, now) = (CircuitSettings { probes: 1, ..CircuitSettings::default() }, Instant::now());
        let mut breaker = Breaker::new(settings);
        let early: Vec<Permit> = (0..20).map(|_| breaker.admit(now).unwrap()).collect();
        (0..10).for_each(|_| assert!(call(&mut breaker, now, Verdict::Failed(down()))));
        breaker.record(early[0], now, Verdict::Good);
        assert_eq!(breaker.position(), Position::Open);
        assert!(call(&mut breaker, now + settings.probe_every, Verdict::Good));
        early.into_iter().for_each(|permit| breaker.record(permit, now, Verdict::Failed(down())));
        assert_eq!(breaker.position(), Position::Closed);
    }

    #[test]
    fn a_probe_that_hangs_does_not_hold_up_the_next_for_ever() {
        let (settings, now) = (CircuitSettings::default(), Instant::now());
        let mut breaker = opened(settings, now);
        let hangs = breaker.admit(now + settings.probe_every).unwrap();
        assert!(breaker.admit(now + settings.probe_every * 2 - Duration::from_nanos(1)).is_err());
        assert!(breaker.admit(now + settings.probe_every * 2).is_ok());
        breaker.record(hangs, now + settings.probe_every * 2, Verdict::Open);
        assert!(breaker.admit(now + settings.probe_every * 2).is_ok(), "what says nothing costs no time");
    }

    proptest! {
        /// However the calls end: while it is open, at most one is let through in each interval, except right
        /// after one that succeeded or said nothing, and it closes after enough successes in a row.
        #[test]
        fn few_calls_reach_a_store_that_is_down(
            settings in (1..5u32, 1..5u32).prop_map(|(in_a_row, probes)| CircuitSettings {
                in_a_row, probes, ..CircuitSettings::default()
            }),
            calls in prop::collection::vec((0..400u64, 0..3u8), 1..200),
        ) {
            let mut now = Instant::now();
            let mut breaker = opened(settings, now);
            let (mut last, mut passed) = (now, 0);
            for (wait, end) in calls {
                now += Duration::from_millis(wait);
                let verdict = match end {
                    0 => Verdict::Good,
                    1 => Verdict::Failed(down()),
                    _ => Verdict::Open,
                };
                let due = now >= last + settings.probe_every;
                let expected = passed >= settings.probes || due;
                let admitted = call(&mut breaker, now, verdict.clone());
                prop_assert_eq!(admitted, expected);
                if !admitted {
                    continue;
                }
                match verdict {
                    Verdict::Good => { passed += 1; last = now - settings.probe_every; }
                    Verdict::Failed(_) => { passed = 0; last = now; }
                    Verdict::Open => last = now - settings.probe_every,
                }
                if passed >= settings.probes {
                    prop_assert_eq!(breaker.position(), Position::Closed);
                    return Ok(());
                }
            }
        }
    }
}
