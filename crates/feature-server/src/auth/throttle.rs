//! Slows down those who guess.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How long the first wrong attempt is kept waiting.
const FIRST: Duration = Duration::from_millis(100);
/// How long any is kept waiting at most.
const LONGEST: Duration = Duration::from_secs(3);
/// After what time without a wrong attempt an address is forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// How many addresses are remembered.
const MOST: usize = 4_096;

/// Counts wrong attempts by address. Each one waits twice as long for its answer as the one before; right
/// credentials never wait.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Throttle {
    /// Notes a wrong attempt: how long its answer should wait.
    pub(crate) fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let Ok(mut failures) = self.failures.lock() else { return LONGEST };
        if failures.len() >= MOST && !failures.contains_key(&address) {
            failures.retain(|_, (_, last)| now.duration_since(*last) < FORGET);
            if failures.len() >= MOST {
                // Too many to tell apart: each is treated as the worst of them.
                return LONGEST;
            }
        }
        let (count, last) = failures.entry(address).or_insert((0, now));
        if now.duration_since(*last) >= FORGET {
            *count = 0;
        }
        *last = now;
        let delay = FIRST.saturating_mul(1 << (*count).min(10));
        *count += 1;
        delay.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_attempt_waits_longer_until_it_is_forgotten() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let delays: Vec<_> = (0..7).map(|_| throttle.failed(address(1), now).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3000, 3000]);
        assert_eq!(throttle.failed(address(2), now), FIRST, "others do not wait for it");
        assert_eq!(throttle.failed(address(1), now + FORGET), FIRST);
    }

    #[test]
    fn made_up_addresses_do_not_fill_the_memory() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..10_000u32 {
            throttle.failed(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(throttle.failures.lock().unwrap().len(), MOST);
        assert_eq!(throttle.failed(IpAddr::from([9, 9, 9, 9]), now), LONGEST);
        assert_eq!(throttle.failed(IpAddr::from([9, 9, 9, 9]), now + FORGET), FIRST);
    }
}
