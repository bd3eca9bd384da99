//! When calls begin.

use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// When calls are due: at a constant rate from the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate: f64,
    calls: u64,
}

impl Schedule {
    /// So many calls a second, for so long.
    pub(crate) fn new(rate: f64, lasting: Duration) -> Self {
        Self { rate, calls: (rate * lasting.as_secs_f64()).ceil() as u64 }
    }

    /// How many calls there are in all.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// When a call is due, since the beginning. Not a sum of intervals, whose errors would add up.
    pub(crate) fn due(&self, call: u64) -> Duration {
        Duration::from_secs_f64(call as f64 / self.rate)
    }
}

/// Lets calls begin when they are due, in their order.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) schedule: Schedule,
    tickets: Semaphore,
}

impl Gate {
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self { schedule, tickets: Semaphore::new(0) }
    }

    /// Lets calls begin that are due by now, of which `released` have begun; when the next one is due, or `None` when
    /// there are no more.
    pub(crate) fn release(&self, released: &mut u64, elapsed: Duration) -> Option<Duration> {
        let before = *released;
        while *released < self.schedule.calls() && self.schedule.due(*released) <= elapsed {
            *released += 1;
        }
        self.tickets.add_permits((*released - before) as usize);
        (*released < self.schedule.calls()).then(|| self.schedule.due(*released))
    }

    /// Waits for a call's turn; `false` when there is none any more.
    pub(crate) async fn pass(&self) -> bool {
        self.tickets.acquire().await.map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Lets nothing begin any more.
    pub(crate) fn close(&self) {
        self.tickets.close();
    }

    /// Lets calls begin until the last is due; for a thread of its own, since the runtime's timers are no finer than a
    /// millisecond.
    pub(crate) fn keep_pace(&self, began: Instant) {
        let mut released = 0;
        while let Some(next) = self.release(&mut released, began.elapsed()) {
            if self.tickets.is_closed() {
                return;
            }
            std::thread::sleep(next.saturating_sub(began.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_call_is_due_once_and_at_its_time(
            rate in 0.1_f64..200_000.0,
            millis in 1_u64..2_000,
            looks in prop::collection::vec(0_u64..3_000_000_000, 0..40),
        ) {
            let lasting = Duration::from_millis(millis);
            let schedule = Schedule::new(rate, lasting);
            let gate = Gate::new(schedule);
            let mut looks = looks;
            looks.sort_unstable();
            let mut released = 0;
            for elapsed in looks.into_iter().map(Duration::from_nanos) {
                let next = gate.release(&mut released, elapsed);
                // All that are due have begun, and none that is not.
                prop_assert!(released == 0 || schedule.due(released - 1) <= elapsed);
                prop_assert!(released == schedule.calls() || schedule.due(released) > elapsed);
                prop_assert_eq!(next.is_none(), released == schedule.calls());
                prop_assert_eq!(gate.tickets.available_permits() as u64, released);
            }
            prop_assert!(schedule.due(schedule.calls() - 1) < lasting);
            prop_assert!(schedule.due(schedule.calls()) + Duration::from_nanos(1) >= lasting);
        }
    }
}
