//! Writes that more than one store takes part in.

use std::sync::Arc;

use feature_core::{
    CallContext, Error, ErrorKind, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result,
    VersionedRecord,
};
use futures::future::join_all;
use tokio::time::Instant;

use super::{Mirrored, Target};
use crate::migration::{Known, Plan};
use crate::wrappers::foreign::{self, foreign};
use crate::wrappers::rows::{counted, pick, unanswered};
use crate::wrappers::settle::{Link, Task, settle};

/// Which stores a write goes to.
enum Written<'a> {
    Alone(&'a Arc<dyn OnlineStoreBackend>),
    /// The source, and these.
    Also(Vec<Target>),
}

impl Mirrored {
    /// Writes to the source, and brings those of the others that take part to the same state before anyone is
    /// told. `task` says of a row, by what the source answered and what the other store had before, what is
    /// to be settled.
    ///
    /// That goes for refused puts too: what stands in the way may be the write itself, which the source took
    /// when it was tried before, and its caller will then be content with that.
    async fn write_both<T, F: Future<Output = Vec<Result<T>>>>(
        &self,
        keys: &[RecordKey],
        targets: &[Target],
        call: CallContext,
        write: impl FnOnce(Vec<usize>) -> F,
        task: impl Fn(usize, &T, Option<VersionedRecord>) -> Task,
    ) -> Vec<Result<T>> {
        let mut answers: Vec<Option<Result<T>>> = keys.iter().map(|_| None).collect();
        // What is found before the write is older than what the write makes, see `settle`.
        let looks = targets.iter().map(|target| self.others[target.number].1.get(keys, call));
        let looks = join_all(looks).await.into_iter().map(|rows| counted(rows, keys.len()));
        let grounds: Vec<Vec<_>> = looks.collect();
        for (target, ground) in targets.iter().zip(&grounds).filter(|(target, _)| target.required) {
            for (answer, found) in answers.iter_mut().zip(ground) {
                if let Err(error) = found {
                    answer.get_or_insert_with(|| Err(self.refused(*target, error)));
                }
            }
        }
        let open: Vec<usize> = (0..keys.len()).filter(|row| answers[*row].is_none()).collect();
        if !open.is_empty() {
            let written = counted(write(open.clone()).await, open.len());
            for (row, answer) in open.into_iter().zip(written) {
                answers[row] = Some(answer);
            }
        }
        let settling = targets.iter().zip(&grounds).map(|(target, grounds)| {
            let task = |row: usize| {
                let answer = answers[row].as_ref()?.as_ref().ok()?;
                Some((row, task(row, answer, grounds[row].as_ref().ok()?.clone())))
            };
            let (rows, tasks): (Vec<usize>, Vec<Task>) = (0..keys.len()).filter_map(task).unzip();
            let link = Link {
                source: &*self.source,
                target: &*self.others[target.number].1,
                clock: &*self.watch.clock,
                until: Some(call.deadline),
            };
            async move { rows.into_iter().zip(settle(link, tasks, call).await).collect::<Vec<_>>() }
        });
        let settled = join_all(settling).await;
        for ((target, settled), ground) in targets.iter().zip(settled).zip(&grounds) {
            let mut missed = ground.iter().filter(|ground| ground.is_err()).count();
            for (row, settled) in settled {
                match settled {
                    Err(error) if target.required => answers[row] = Some(Err(self.lacking(*target, &error))),
                    Err(_) => missed += 1,
                    Ok(_) => {}
                }
            }
            self.miss(*target, missed);
        }
        let lost = || Err(unanswered().with_in_doubt(true));
        answers.into_iter().map(|row| row.unwrap_or_else(lost)).collect()
    }

    fn miss(&self, target: Target, rows: usize) {
        if rows > 0 {
            self.missed[target.number].increment(rows as u64);
        }
    }

    /// The error of a row that was not written because a store that must have it does not answer.
    fn refused(&self, target: Target, error: &Error) -> Error {
        let message = format!(
            "nothing was written, because store `{}`, which must have what `{}` has, fails: {}",
            self.others[target.number].0,
            self.name,
            error.message()
        );
        derived(error, message).with_in_doubt(false)
    }

    /// The error of a row that one store has and the other has not.
    pub(super) fn lacking(&self, target: Target, error: &Error) -> Error {
        let message = format!(
            "store `{}` could not be given what `{}` now has: {}; it is safe to repeat the write",
            self.others[target.number].0,
            self.name,
            error.message()
        );
        derived(error, message).with_in_doubt(true).with_retryable(true)
    }

    /// The stores that are written besides the source.
    fn targets(&self, plan: &Plan) -> Result<Vec<Target>> {
        let mut targets: Vec<Target> = self.mirror.into_iter().collect();
        if let Plan::Both { to, .. } = plan {
            self.target(to)?;
            targets.extend(to.as_ref().ok().map(|number| Target { number: *number, required: true }));
        }
        Ok(targets)
    }

    pub(super) async fn put_by(
        &self,
        plan: &Plan,
        known: &Known,
        puts: Vec<RecordPut>,
        call: CallContext,
    ) -> Vec<Result<PutOutcome>> {
        let targets = match self.written(plan) {
            Ok(Written::Alone(store)) => return store.put(puts, call).await,
            Ok(Written::Also(targets)) => targets,
            Err(error) => return error.for_rows(puts.len()),
        };
        let (call, rows) = (limited(call, known), puts.len());
        let keys: Vec<RecordKey> = puts.iter().map(|put| put.key.clone()).collect();
        let write = |rows: Vec<usize>| foreign::put(&*self.source, pick(&puts, &rows), call);
        let task = |row: usize, outcome: &PutOutcome, ground| {
            let key = keys[row].clone();
            match outcome {
                PutOutcome::Stored => Task::written(key, ground, puts[row].bytes.clone()),
                PutOutcome::Refused(Some(own)) => Task::written(key, ground, own.bytes.clone()),
                PutOutcome::Refused(None) => Task::new(key),
            }
        };
        let both = self.write_both(&keys, &targets, call, write, task);
        let mut answers = within(call, rows, both).await;
        if matches!(plan, Plan::Both { reads: true, .. }) {
            // The next write may go to the other store, where a version of this one means nothing.
            for answer in &mut answers {
                if let Ok(PutOutcome::Refused(found)) = answer {
                    *found = found.take().map(foreign);
                }
            }
        }
        answers
    }

    pub(super) async fn delete_by(
        &self,
        plan: &Plan,
        known: &Known,
        keys: &[RecordKey],
        call: CallContext,
    ) -> Vec<Result<bool>> {
        let targets = match self.written(plan) {
            Ok(Written::Alone(store)) => return store.delete(keys, call).await,
            Ok(Written::Also(targets)) => targets,
            Err(error) => return error.for_rows(keys.len()),
        };
        let call = limited(call, known);
        let delete = |rows: Vec<usize>| async move { self.source.delete(&pick(keys, &rows), call).await };
        let task = |row: usize, _: &bool, ground| Task::deleted(keys[row].clone(), ground);
        let both = self.write_both(keys, &targets, call, delete, task);
        within(call, keys.len(), both).await
    }

    fn written(&self, plan: &Plan) -> Result<Written<'_>> {
        match plan {
            Plan::Target { to } => self.target(to).map(Written::Alone),
            Plan::Hold { .. } => Err(Error::new(ErrorKind::Unavailable, "writes wait; write again")),
            Plan::Source | Plan::Both { .. } => {
                let targets = self.targets(plan)?;
                Ok(if targets.is_empty() { Written::Alone(&self.source) } else { Written::Also(targets) })
            }
        }
    }
}

fn derived(error: &Error, message: String) -> Error {
    Error::new(error.kind(), message).with_retryable(error.is_retryable()).with_source(error.clone())
}

/// A call that ends before what it knows is too old.
fn limited(call: CallContext, known: &Known) -> CallContext {
    CallContext { deadline: call.deadline.min(Instant::now() + known.write_limit()) }
}

async fn within<T>(
    call: CallContext,
    rows: usize,
    work: impl Future<Output = Vec<Result<T>>>,
) -> Vec<Result<T>> {
    tokio::time::timeout_at(call.deadline, work).await.unwrap_or_else(|_| {
        let message = "a write to two stores may not take so long; it is safe to repeat it";
        let error = Error::new(ErrorKind::DeadlineExceeded, message).with_in_doubt(true);
        error.for_rows(rows)
    })
}
