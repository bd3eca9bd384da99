//! What was asked of each view of each tenant in the last minutes: for people, who may know the names that labels of
//! metrics must not have. Bounded, and of this process alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use feature_core::{Error, ErrorKind};
use tokio::time::Instant;

/// How many minutes are kept, the present one included.
pub(crate) const MINUTES: usize = 15;
/// How many views of tenants are kept apart; what comes when all are busy is not.
const MOST: usize = 4_096;
/// Upper bounds of the buckets of ages; the last has none.
pub(crate) const AGES: [Duration; 8] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3_600),
    Duration::from_secs(86_400),
    Duration::from_secs(7 * 86_400),
    Duration::from_secs(28 * 86_400),
];
/// Upper bounds of the buckets of how long calls take; the last has none.
pub(crate) const TIMES: [Duration; 11] = [
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// One minute of a view of a tenant, or several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Minute {
    pub(crate) reads: u32,
    pub(crate) writes: u32,
    /// Calls that failed as a whole, those over a quota not counted.
    pub(crate) failed: u32,
    /// Calls that were refused because of a quota, or because the store has too much to do.
    pub(crate) throttled: u32,
    /// Of the rows that were looked at: those that had a record, and those that had none.
    pub(crate) found: u32,
    pub(crate) absent: u32,
    /// Those with a feature that was withheld because of its age.
    pub(crate) outside: u32,
    /// How old the newest feature was that was read, by bucket.
    pub(crate) ages: [u32; AGES.len() + 1],
    /// How long calls took, by bucket.
    pub(crate) times: [u32; TIMES.len() + 1],
}

impl Minute {
    pub(crate) fn calls(&self) -> u32 {
        self.reads + self.writes
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (own, other) in [
            (&mut self.reads, other.reads),
            (&mut self.writes, other.writes),
            (&mut self.failed, other.failed),
            (&mut self.throttled, other.throttled),
            (&mut self.found, other.found),
            (&mut self.absent, other.absent),
            (&mut self.outside, other.outside),
        ] {
            *own = own.saturating_add(other);
        }
        let buckets = self.ages.iter_mut().zip(other.ages).chain(self.times.iter_mut().zip(other.times));
        buckets.for_each(|(own, other)| *own = own.saturating_add(other));
    }

    fn ended(&mut self, took: Duration, error: Option<&Error>) {
        self.times[bucket(&TIMES, took)] += 1;
        match error.map(Error::kind) {
            None => {}
            Some(ErrorKind::Throttled) => self.throttled += 1,
            Some(_) => self.failed += 1,
        }
    }
}

/// What a read has found, of some of its rows.
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    /// For each row: how old its newest feature is; `None` where there is no record.
    pub(crate) ages: Vec<Option<Duration>>,
    /// How many of them have a feature that was withheld because of its age.
    pub(crate) outside: u32,
}

fn bucket(bounds: &[Duration], value: Duration) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

/// The bound below which this share of what was counted is, from 0 to 1; `None` where nothing was, and the last bound
/// for what lies beyond it.
pub(crate) fn quantile(bounds: &[Duration], counts: &[u32], share: f64) -> Option<Duration> {
    let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    let wanted = (share * all as f64).ceil().max(1.0) as u64;
    let mut below = 0;
    let at = counts.iter().position(|count| {
        below += u64::from(*count);
        below >= wanted
    })?;
    bounds.get(at).or(bounds.last()).copied()
}

/// The minutes of one view of a tenant, each in the place of its number.
struct Entry(Mutex<[(u64, Minute); MINUTES]>);

impl Entry {
    fn note(&self, now: u64, change: impl FnOnce(&mut Minute)) {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, minute) = &mut minutes[now as usize % MINUTES];
        if *number != now {
            (*number, *minute) = (now, Minute::default());
        }
        change(minute);
    }

    /// The last minutes, the oldest first.
    fn minutes(&self, now: u64) -> [Minute; MINUTES] {
        let minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::array::from_fn(|at| {
            let wanted = (now + 1 + at as u64).checked_sub(MINUTES as u64);
            let kept = wanted.map(|wanted| minutes[wanted as usize % MINUTES]);
            kept.filter(|(number, _)| Some(*number) == wanted)
                .map_or_else(Minute::default, |(_, minute)| minute)
        })
    }

    fn is_idle(&self, now: u64) -> bool {
        self.minutes(now).iter().all(|minute| minute.calls() == 0)
    }
}

/// A view of a tenant that something was asked of.
pub(crate) struct ViewActivity {
    pub(crate) tenant: String,
    pub(crate) view: String,
    /// The oldest first, the present one last.
    pub(crate) minutes: [Minute; MINUTES],
    /// All of them together.
    pub(crate) whole: Minute,
}

#[derive(Default)]
struct Entries {
    /// By tenant and view.
    of: HashMap<String, HashMap<String, Arc<Entry>>>,
    count: usize,
    /// In which minute it was last looked for those that are idle.
    tidied: u64,
}

/// What was asked of each view of each tenant.
pub(crate) struct Activity {
    begun: Instant,
    entries: RwLock<Entries>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { begun: Instant::now(), entries: RwLock::default() }
    }
}

impl Activity {
    /// A view was read.
    pub(crate) fn read(&self, of: (&str, &str), took: Duration, result: Result<&Sampled, &Error>) {
        self.note(of, |minute| {
            minute.reads += 1;
            minute.ended(took, result.err());
            if let Ok(sampled) = result {
                minute.outside += sampled.outside;
                for age in &sampled.ages {
                    match age {
                        None => minute.absent += 1,
                        Some(age) => {
                            minute.found += 1;
                            minute.ages[bucket(&AGES, *age)] += 1;
                        }
                    }
                }
            }
        });
    }

    /// A view was written, or records of it were deleted.
    pub(crate) fn write(&self, of: (&str, &str), took: Duration, error: Option<&Error>) {
        self.note(of, |minute| {
            minute.writes += 1;
            minute.ended(took, error);
        });
    }

    /// All that something was asked of in the last minutes, of the tenants that are wanted.
    pub(crate) fn views(&self, wanted: impl Fn(&str) -> bool) -> Vec<ViewActivity> {
        let now = self.minute();
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let tenants = entries.of.iter().filter(|(tenant, _)| wanted(tenant));
        let views =
            tenants.flat_map(|(tenant, views)| views.iter().map(move |(view, entry)| (tenant, view, entry)));
        let activity = views.map(|(tenant, view, entry)| {
            let minutes = entry.minutes(now);
            let mut whole = Minute::default();
            minutes.iter().for_each(|minute| whole.add(minute));
            ViewActivity { tenant: tenant.clone(), view: view.clone(), minutes, whole }
        });
        activity.filter(|view| view.whole.calls() > 0).collect()
    }

    fn minute(&self) -> u64 {
        // So that no minute has the number of those that were never noted.
        self.begun.elapsed().as_secs() / 60 + MINUTES as u64
    }

    fn note(&self, (tenant, view): (&str, &str), change: impl FnOnce(&mut Minute)) {
        let now = self.minute();
        let known = {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            entries.of.get(tenant).and_then(|views| views.get(view)).map(Arc::clone)
        };
        if let Some(entry) = known.or_else(|| self.begin(tenant, view, now)) {
            entry.note(now, change);
        }
    }

    fn begin(&self, tenant: &str, view: &str, now: u64) -> Option<Arc<Entry>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.count >= MOST && entries.tidied < now {
            // It is looked at all of them, so not for each call.
            entries.tidied = now;
            for views in entries.of.values_mut() {
                views.retain(|_, entry| !entry.is_idle(now));
            }
            entries.of.retain(|_, views| !views.is_empty());
            entries.count = entries.of.values().map(HashMap::len).sum();
        }
        if entries.count >= MOST {
            return None;
        }
        let Entries { of, count, .. } = &mut *entries;
        let entry = of.entry(tenant.to_owned()).or_default().entry(view.to_owned()).or_insert_with(|| {
            *count += 1;
            Arc::new(Entry(Mutex::default()))
        });
        Some(Arc::clone(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_minutes_are_kept_and_no_older_one() {
        let activity = Activity::default();
        for minute in 0..20 {
            let sampled = Sampled { ages: vec![Some(seconds(minute)), None], outside: 1 };
            activity.read(("acme", "v"), Duration::from_millis(3), Ok(&sampled));
            tokio::time::advance(seconds(60)).await;
        }
        let refused = Error::new(ErrorKind::Throttled, "too much");
        activity.write(("acme", "v"), Duration::from_millis(3), Some(&refused));
        activity.write(("other", "v"), Duration::from_millis(3), None);
        let views = activity.views(|tenant| tenant == "acme");
        let [ViewActivity { minutes, whole, .. }] = &views[..] else { panic!("{}", views.len()) };
        assert_eq!(minutes.map(|minute| minute.reads), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
        assert_eq!((minutes[14].writes, minutes[14].throttled, minutes[14].failed), (1, 1, 0));
        assert_eq!((whole.found, whole.absent, whole.outside), (14, 14, 14));
        // Reads 6 to 19 found rows of 6 to 19 seconds.
        assert_eq!(whole.ages[1..3], [5, 9]);
        tokio::time::advance(seconds(60 * 20)).await;
        assert!(activity.views(|_| true).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_names_do_not_fill_the_memory() {
        let activity = Activity::default();
        let note = |name: &str| activity.write((name, "v"), Duration::ZERO, None);
        for n in 0..2 * MOST {
            note(&n.to_string());
        }
        assert_eq!(activity.views(|_| true).len(), MOST);
        tokio::time::advance(seconds(60 * MINUTES as u64)).await;
        note("new");
        assert_eq!(activity.views(|_| true).len(), 1, "those that are idle make room");
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        assert_eq!(quantile(&AGES, &[0; 9], 0.5), None);
        assert_eq!(quantile(&AGES, &[1, 0, 0, 0, 0, 0, 0, 0, 0], 0.5), Some(seconds(1)));
        assert_eq!(quantile(&AGES, &[5, 5, 0, 0, 0, 0, 0, 0, 0], 0.5), Some(seconds(1)));
        assert_eq!(quantile(&AGES, &[5, 6, 0, 0, 0, 0, 0, 0, 0], 0.5), Some(seconds(10)));
        assert_eq!(quantile(&AGES, &[0, 0, 0, 0, 0, 0, 0, 0, 3], 0.99), Some(AGES[7]));
    }
}
