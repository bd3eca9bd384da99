//! The tasks that write and read.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use feature_core::{
    EntityKey, Error, FeatureWrite, Features, OnlineStore, Result, ViewRead, WriteOutcome, WriteReport,
};
use tokio::time::Instant;

use super::ledger::{Fate, Ledger, time_of};
use super::plan::{COMMON_FEATURES, COMMON_VIEW, LoadPlan, OWN_VIEW, thing};
use super::stats::{CallStats, ErrorClass};

/// How many descriptions of one kind of fault are kept.
const SAMPLES: usize = 20;

/// What the workers of a load share.
pub(super) struct Shared {
    pub(super) store: OnlineStore,
    pub(super) tenant: String,
    pub(super) plan: LoadPlan,
    pub(super) keys: Vec<EntityKey>,
    pub(super) ledger: Ledger,
    pub(super) progress: Mutex<Overall>,
    pub(super) stopped: AtomicBool,
}

/// What has happened so far.
#[derive(Clone, Default)]
pub(super) struct Overall {
    pub(super) writes: CallStats,
    pub(super) reads: CallStats,
    pub(super) workers: Vec<Progress>,
    /// Counts the waits for success.
    pub(super) phase: u64,
    /// Errors since the last of them ended.
    pub(super) seen: BTreeSet<ErrorClass>,
    /// How many reads gave something older than was acknowledged before they began, and some of them.
    pub(super) stale: (usize, Vec<String>),
    /// What no fault of a server excuses, likewise.
    pub(super) wrong: (usize, Vec<String>),
}

impl Overall {
    pub(super) fn wrong(&mut self, what: String) {
        note(&mut self.wrong, what);
    }
}

fn note((count, samples): &mut (usize, Vec<String>), what: String) {
    *count += 1;
    if samples.len() < SAMPLES {
        samples.push(what);
    }
}

/// How one worker fares.
#[derive(Clone, Default)]
pub(super) struct Progress {
    phase: u64,
    in_a_row: usize,
    /// What went wrong last, for messages.
    pub(super) last: String,
}

impl Progress {
    /// How many successful calls in a row there were in this phase.
    pub(super) fn streak(&self, phase: u64) -> usize {
        if self.phase == phase { self.in_a_row } else { 0 }
    }
}

/// A task of a load.
#[derive(Clone, Copy)]
pub(super) enum Worker {
    /// By its number.
    Writer(usize),
    Reader,
}

impl Worker {
    /// Works until the load is stopped; `place` is where its progress is kept.
    pub(super) async fn run(self, place: usize, shared: Arc<Shared>) {
        let mut turn = 0;
        while !shared.stopped.load(Ordering::Relaxed) {
            match self {
                Self::Writer(own) => shared.write(place, own, turn).await,
                Self::Reader => shared.read(place).await,
            }
            turn += 1;
            tokio::time::sleep(shared.plan.rest).await;
        }
    }
}

impl Shared {
    pub(super) fn progress(&self) -> MutexGuard<'_, Overall> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entities of a call: neighbours, from anywhere.
    fn some_entities(&self) -> Vec<usize> {
        let first = fastrand::usize(..self.plan.entities);
        (first..first + self.plan.batch).map(|number| number % self.plan.entities).collect()
    }

    async fn write(&self, place: usize, own: usize, turn: usize) {
        let alone = turn.is_multiple_of(2);
        let (view, what) = if alone { (OWN_VIEW, own) } else { (COMMON_VIEW, self.plan.writers) };
        let entities = self.some_entities();
        let number = self.ledger.next();
        let writes = entities.iter().map(|entity| {
            let value = self.ledger.value(number, *entity);
            let features: Features = match alone {
                true => Features::new().with(format!("w{own}"), value),
                false => COMMON_FEATURES.map(|name| (name, value)).into(),
            };
            FeatureWrite::new(self.keys[*entity].clone(), features).at(time_of(number))
        });
        let phase = self.progress().phase;
        let start = Instant::now();
        let answer = self.store.batch_write(&self.tenant, view, writes).await;
        let took = start.elapsed();
        let rows = rows_of(answer, entities.len());

        let fate = |row: &Result<WriteOutcome>| match row {
            Ok(_) => Fate::Acknowledged,
            Err(error) if error.in_doubt() => Fate::InDoubt,
            Err(_) => Fate::Failed,
        };
        self.ledger.settle(what, number, entities.iter().copied().zip(rows.iter().map(fate)));
        let errors: Vec<&Error> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
        let mut progress = self.progress();
        progress.writes.add(took, rows.len() - errors.len(), &errors);
        progress.settle(place, phase, &errors);
        // Nobody else writes this feature, and never with a newer time.
        if alone && rows.iter().any(|row| matches!(row, Ok(WriteOutcome::Superseded))) {
            progress.wrong(format!("write {number} of w{own} was superseded, though it is the newest"));
        }
    }

    async fn read(&self, place: usize) {
        let entities = self.some_entities();
        let keys: Vec<EntityKey> = entities.iter().map(|entity| self.keys[*entity].clone()).collect();
        let writers = self.plan.writers;
        let before: Vec<Vec<i64>> =
            (0..=writers).map(|what| self.ledger.acknowledged(what, &entities)).collect();
        let view = |feature_view| ViewRead { feature_view, entity_keys: &keys, feature_names: None };
        let phase = self.progress().phase;
        let start = Instant::now();
        let answer = self.store.read_views(&self.tenant, &[view(OWN_VIEW), view(COMMON_VIEW)]).await;
        let took = start.elapsed();

        let mut views = match answer {
            Ok(views) => views.into_iter(),
            Err(error) => {
                let mut progress = self.progress();
                progress.reads.add(took, 0, &[&error]);
                return progress.settle(place, phase, &[&error]);
            }
        };
        let (own, common) = (views.next().unwrap_or_default(), views.next().unwrap_or_default());
        let errors: Vec<&Error> = own.iter().chain(&common).filter_map(|row| row.as_ref().err()).collect();
        let mut progress = self.progress();
        progress.reads.add(took, own.len() + common.len() - errors.len(), &errors);
        progress.settle(place, phase, &errors);
        if own.len() != entities.len() || common.len() != entities.len() {
            progress.wrong(format!("{} entities were read as {} rows", entities.len(), own.len()));
            return;
        }
        let mut check = |found: Result<i64, String>, what: usize, at: usize| match found {
            Ok(found) if found < before[what][at] => note(
                &mut progress.stale,
                format!(
                    "of entity {} a read gave {} of write {found}; write {} was acknowledged before it began",
                    entities[at],
                    thing(what, writers),
                    before[what][at],
                ),
            ),
            Ok(_) => {}
            Err(wrong) => progress.wrong(wrong),
        };
        for (at, entity) in entities.iter().enumerate() {
            if let Ok(row) = &own[at] {
                for writer in 0..writers {
                    let found = self.ledger.number_of(row.as_ref(), &format!("w{writer}"), *entity);
                    check(found, writer, at);
                }
            }
            if let Ok(row) = &common[at] {
                check(self.ledger.number_of_common(row.as_ref(), *entity), writers, at);
            }
        }
    }
}

impl Overall {
    /// Takes note of a call that began in this phase.
    fn settle(&mut self, place: usize, phase: u64, errors: &[&Error]) {
        self.seen.extend(errors.iter().map(|error| ErrorClass::of(error)));
        let worker = &mut self.workers[place];
        if worker.phase != phase {
            (worker.phase, worker.in_a_row) = (phase, 0);
        }
        match errors.first() {
            None => worker.in_a_row += 1,
            Some(error) => {
                worker.in_a_row = 0;
                worker.last = error.to_string();
            }
        }
    }
}

/// The rows of a write's answer; an error of the whole call is the error of each.
fn rows_of(answer: Result<WriteReport>, count: usize) -> Vec<Result<WriteOutcome>> {
    match answer {
        Ok(report) => report.rows().to_vec(),
        Err(error) => vec![Err(error); count],
    }
}

#[cfg(test)]
mod tests {
    use feature_core::ErrorKind;

    use super::*;

    #[test]
    fn a_failure_and_a_new_phase_begin_the_count_of_successes_anew() {
        let mut overall = Overall { workers: vec![Progress::default()], ..Overall::default() };
        let error = Error::new(ErrorKind::Unavailable, "gone");
        for (phase, errors, streak) in
            [(1, &[][..], 1), (1, &[], 2), (1, &[&error], 0), (1, &[], 1), (2, &[], 1)]
        {
            overall.settle(0, phase, errors);
            assert_eq!(overall.workers[0].streak(phase), streak);
        }
        assert_eq!(overall.workers[0].streak(3), 0);
        assert_eq!(overall.seen.len(), 1);
    }
}
