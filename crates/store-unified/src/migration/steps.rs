//! The commands, each of which takes a migration from one phase to the next.

use feature_core::{Error, ErrorKind, PurgeProgress, PutOutcome, Result, Scope, Timestamp};
use futures::StreamExt;

use super::copy::Copy;
use super::ledger::{Entry, Phase, overlap, probe_key};
use super::progress::{MigrationProgress, Step};
use super::{Comparison, MigrationStatus, Migrations, StartOptions, Subject, status};
use crate::wrappers::rows::counted;
use crate::wrappers::settle::{alive, copy};

impl Migrations {
    /// Begins a migration: from now on both stores are written, and what the source has is copied. Called
    /// again, it goes on with a copy that was interrupted, or copies once more what differs. Ends when all
    /// has been copied.
    ///
    /// # Errors
    /// `InvalidArgument` for a scope or store that cannot be migrated, or when the target already has
    /// records of the scope; `Conflict` when the migration was ended meanwhile; `NotConfigured` when the
    /// target does not take records that expire; what either store reports. When some records could not be
    /// copied, the error of the first, after all others have been.
    pub async fn start(
        &self,
        scope: &Scope,
        to: &str,
        options: StartOptions,
        progress: &MigrationProgress,
    ) -> Result<MigrationStatus> {
        let subject = self.subject(scope)?;
        subject.target(to)?;
        let known = subject.ledger().await?.get(scope).cloned();
        let resumed = known.is_some();
        if known.is_none() {
            subject.make_ready(to, options.purge_target, progress).await?;
        }
        subject.open(to).await?;
        subject.followed(&[Phase::Copying], progress).await?;
        subject.copy(to, resumed || options.purge_target, options, progress).await
    }

    /// Compares the two stores of a migration, both ways and record by record, and remembers the result.
    /// With `repair`, records that differ for good are given what the source has.
    ///
    /// # Errors
    /// `InvalidArgument` when not all has been copied yet, or the target alone is used; what either store
    /// reports. Records that differ are not an error.
    pub async fn verify(
        &self,
        scope: &Scope,
        repair: bool,
        progress: &MigrationProgress,
    ) -> Result<Comparison> {
        const PHASES: [Phase; 5] =
            [Phase::Copied, Phase::Verified, Phase::CutOver, Phase::Finishing, Phase::Holding];
        let subject = self.subject(scope)?;
        let entry = subject.entry().await?;
        subject.expect(&entry, &PHASES, "be verified")?;
        let comparison = subject.pair(&entry.to)?.compare(scope, repair, progress).await?;
        let equal = comparison.counts.differing == 0;
        let before = entry.phase;
        let noted = subject.update(&PHASES, "be verified", |entry, now| {
            // What was found before a change of phase says nothing about the new one.
            if entry.phase == before {
                entry.verified = Some(comparison.counts.clone());
                // Between these two nothing changes for a process, so there is nothing to wait for.
                match (before, equal) {
                    (Phase::Copied, true) => (entry.phase, entry.since) = (Phase::Verified, now),
                    (Phase::Verified, false) => (entry.phase, entry.since) = (Phase::Copied, now),
                    _ => {}
                }
            }
        });
        noted.await?;
        Ok(comparison)
    }

    /// Reads from the target from now on. Both stores are still written, so that [`abort`](Self::abort)
    /// leads back. Ends when every process reads the target.
    ///
    /// # Errors
    /// `InvalidArgument` when the stores have not been found equal, unless `force`d; what the source
    /// reports.
    pub async fn cutover(
        &self,
        scope: &Scope,
        force: bool,
        progress: &MigrationProgress,
    ) -> Result<MigrationStatus> {
        let subject = self.subject(scope)?;
        let entry = subject.entry().await?;
        if entry.phase != Phase::CutOver {
            let from: &[Phase] = if force { &[Phase::Verified, Phase::Copied] } else { &[Phase::Verified] };
            subject.expect(&entry, from, "be cut over")?;
            subject.followed(from, progress).await?;
            subject.enter(from, Phase::CutOver, "be cut over", |entry| entry.verified = None).await?;
        }
        subject.followed(&[Phase::CutOver], progress).await
    }

    /// Stops writing to the source; from now on there is no way back. Writes to these records wait for a
    /// moment, [`MigrationSettings`](super::MigrationSettings) says how long. Ends when every process uses
    /// the target alone; then the routes can name it.
    ///
    /// # Errors
    /// `InvalidArgument` when the stores have not been found equal since the cutover, unless `force`d;
    /// `Conflict` when writes had to wait so long that the hold was given up; what either store reports.
    pub async fn finish(
        &self,
        scope: &Scope,
        force: bool,
        progress: &MigrationProgress,
    ) -> Result<MigrationStatus> {
        let subject = self.subject(scope)?;
        let mut entry = subject.entry().await?;
        let equal = entry.verified.as_ref().is_some_and(|verified| verified.differing == 0);
        if entry.phase == Phase::CutOver && !equal && !force {
            return Err(subject.error(format!(
                "the stores `{}` and `{}` have not been found equal since the cutover: verify, or force it",
                subject.mirror.name(),
                entry.to
            )));
        }
        if entry.phase == Phase::CutOver {
            subject.followed(&[Phase::CutOver], progress).await?;
            subject.enter(&[Phase::CutOver], Phase::Finishing, "be finished", |_| {}).await?;
            entry.phase = Phase::Finishing;
        }
        if entry.phase == Phase::Finishing {
            subject.followed(&[Phase::Finishing], progress).await?;
            subject.enter(&[Phase::Finishing], Phase::Holding, "be finished", |_| {}).await?;
            entry.phase = Phase::Holding;
        }
        if entry.phase == Phase::Holding {
            progress.enter(Step::Holding);
            tokio::time::sleep(subject.mirror.watch().settings.hold()).await;
            subject.end_hold().await?;
            entry.phase = Phase::Finished;
        }
        subject.expect(&entry, &[Phase::Finished], "be finished")?;
        let status = subject.followed(&[Phase::Finished], progress).await?;
        subject.forget_in_target(&entry.to).await?;
        Ok(status)
    }

    /// Ends a migration: the source is read and written alone, as it was before. Ends when every process
    /// does so. With `purge_target` what was copied is then removed.
    ///
    /// # Errors
    /// `InvalidArgument` when there is none, or it is finished; what either store reports.
    pub async fn abort(&self, scope: &Scope, purge_target: bool, progress: &MigrationProgress) -> Result<()> {
        const BACK: [Phase; 3] = [Phase::CutOver, Phase::Finishing, Phase::Holding];
        const OUT: [Phase; 4] = [Phase::Copying, Phase::Copied, Phase::Verified, Phase::Aborting];
        let subject = self.subject(scope)?;
        let entry = subject.entry().await?;
        if BACK.contains(&entry.phase) {
            // Processes that read the target must still find every write there.
            subject.enter(&BACK, Phase::Aborting, "be aborted", |_| {}).await?;
        } else {
            subject.expect(&entry, &OUT, "be aborted")?;
        }
        if BACK.contains(&entry.phase) || entry.phase == Phase::Aborting {
            subject.followed(&[Phase::Aborting], progress).await?;
        }
        subject
            .change(|ledger| {
                if let Some(entry) = ledger.get(scope) {
                    subject.expect(entry, &OUT, "be aborted")?;
                }
                ledger.remove(scope);
                Ok(())
            })
            .await?;
        progress.enter(Step::Waiting);
        tokio::time::sleep(subject.mirror.watch().settings.until_followed()).await;
        if purge_target {
            subject.purge(&entry.to, progress).await?;
        }
        Ok(())
    }
}

impl Subject<'_> {
    fn expect(&self, entry: &Entry, phases: &[Phase], to: &str) -> Result<()> {
        if phases.contains(&entry.phase) {
            return Ok(());
        }
        let next = match entry.phase {
            Phase::Copying => "not all has been copied: start it again, it goes on where it was",
            Phase::Copied => "the stores have not been found equal: verify",
            Phase::Verified => "the target is not read yet: cut over",
            Phase::CutOver => "the target is read: finish, or abort",
            Phase::Finishing | Phase::Holding => "it is being finished: finish again, or abort",
            Phase::Finished => "it is finished: change the routes",
            Phase::Aborting => "it is being aborted: abort again",
        };
        Err(self.error(format!(
            "the migration of {} from `{}` to `{}` is {} and cannot {to}; {next}",
            self.scope,
            self.mirror.name(),
            entry.to,
            entry.phase
        )))
    }

    /// Changes the entry, if it is in one of these phases.
    async fn update<T>(
        &self,
        phases: &[Phase],
        to: &str,
        mut update: impl FnMut(&mut Entry, Timestamp) -> T,
    ) -> Result<(T, MigrationStatus)> {
        let clock = &self.mirror.watch().clock;
        self.change(|ledger| {
            let Some(mut entry) = ledger.get(self.scope).cloned() else {
                return Err(Error::new(ErrorKind::Conflict, "the migration was ended meanwhile")
                    .with_retryable(false));
            };
            self.expect(&entry, phases, to)?;
            let answer = update(&mut entry, clock.now());
            let status = status(self.mirror.name(), &entry)?;
            ledger.set(self.scope, entry);
            Ok((answer, status))
        })
        .await
    }

    async fn enter(
        &self,
        from: &[Phase],
        phase: Phase,
        to: &str,
        mut also: impl FnMut(&mut Entry),
    ) -> Result<()> {
        self.update(from, to, |entry, now| {
            entry.enter(phase, now);
            also(entry);
        })
        .await
        .map(|_| ())
    }

    /// Has writes go on, to the target alone, if they still wait.
    async fn end_hold(&self) -> Result<()> {
        match self.enter(&[Phase::Holding], Phase::Finished, "be finished", |_| {}).await {
            Err(error) if self.entry().await?.phase == Phase::CutOver => {
                let message = "writes had to wait for too long and went on: verify, and finish again";
                Err(Error::new(ErrorKind::Conflict, message).with_retryable(false).with_source(error))
            }
            ended => ended,
        }
    }

    /// Waits until every process follows the phase, unless that has been waited for.
    async fn followed(&self, phases: &[Phase], progress: &MigrationProgress) -> Result<MigrationStatus> {
        let entry = self.entry().await?;
        self.expect(&entry, phases, "go on")?;
        if entry.followed {
            return status(self.mirror.name(), &entry);
        }
        progress.enter(Step::Waiting);
        tokio::time::sleep(self.mirror.watch().settings.until_followed()).await;
        let since = entry.since;
        self.update(phases, "go on", |entry, _| entry.followed |= entry.since == since)
            .await
            .map(|(_, status)| status)
    }

    /// Makes sure that the target can take the scope, and has nothing of it.
    async fn make_ready(&self, to: &str, purge: bool, progress: &MigrationProgress) -> Result<()> {
        if self.mirror.is_mirrored_to(to) {
            return Err(self.error(format!(
                "store `{}` is mirrored to `{to}` for good: end that before anything migrates there",
                self.mirror.name()
            )));
        }
        if let Some((scope, entry)) = self.ledger().await?.about(self.scope).first() {
            return Err(self.error(format!(
                "a migration of {scope} from `{}` to `{}` is {}: end it first",
                self.mirror.name(),
                entry.to,
                entry.phase
            )));
        }
        let target = self.target(to)?;
        let clock = &self.mirror.watch().clock;
        let trial = copy(probe_key()?, None, None, clock.now())?;
        let key = [trial.key.clone()];
        // There may be one of an earlier migration, which is as good.
        match counted(target.put(vec![trial], self.call()).await, 1).pop().transpose() {
            Ok(Some(PutOutcome::Stored)) => {
                let _ = target.delete(&key, self.call()).await;
            }
            Ok(_) => {}
            Err(error) => return Err(self.whose(error)),
        }
        if purge {
            // A process may not have heard yet of the end of a migration before this one.
            progress.enter(Step::Waiting);
            tokio::time::sleep(self.mirror.watch().settings.until_followed()).await;
            return self.purge(to, progress).await;
        }
        let mut records = target.scan(self.scope);
        while let Some(record) = records.next().await {
            let (key, record) = record.map_err(|e| self.whose(e))?;
            if alive(&record.bytes, clock.now()).is_some() {
                return Err(self.error(format!(
                    "store `{to}` already has records of {}, such as {key}: have them purged, or migrate \
                     elsewhere",
                    self.scope
                )));
            }
        }
        Ok(())
    }

    async fn purge(&self, to: &str, progress: &MigrationProgress) -> Result<()> {
        progress.enter(Step::Purging);
        let removed = PurgeProgress::default();
        let target = self.target(to)?;
        target.purge(self.scope, &removed).await.map(drop).map_err(|e| self.whose(e))
    }

    /// Begins a migration, or goes on with it.
    async fn open(&self, to: &str) -> Result<()> {
        let clock = &self.mirror.watch().clock;
        self.change(|ledger| {
            let now = clock.now();
            if let Some((scope, _)) =
                ledger.about(self.scope).iter().find(|(own, _)| own.prefix() != self.scope.prefix())
            {
                return Err(Error::invalid_argument(format!("a migration of {scope} has begun meanwhile")));
            }
            let Some(mut entry) = ledger.get(self.scope).cloned() else {
                ledger.set(self.scope, Entry::new(self.scope, to, Phase::Copying, now));
                return Ok(());
            };
            if entry.to != to {
                return Err(Error::invalid_argument(format!(
                    "{} migrates to `{}` already: abort that first",
                    self.scope, entry.to
                )));
            }
            self.expect(&entry, &[Phase::Copying, Phase::Copied, Phase::Verified], "be started")?;
            // All three are the same to a process, so a process that follows one follows the others.
            if entry.phase != Phase::Copying {
                (entry.phase, entry.since, entry.verified) = (Phase::Copying, now, None);
            }
            (entry.looked_at, entry.copied) = (0, 0);
            ledger.set(self.scope, entry);
            Ok(())
        })
        .await
    }

    async fn copy(
        &self,
        to: &str,
        sweep: bool,
        options: StartOptions,
        progress: &MigrationProgress,
    ) -> Result<MigrationStatus> {
        let pair = self.pair(to)?;
        let tell = |looked_at, copied| async move {
            self.update(&[Phase::Copying], "be copied", |entry, _| {
                (entry.looked_at, entry.copied) = (looked_at, copied);
            })
            .await
            .map(drop)
        };
        let copied = Copy::new(&pair, self.scope, progress, options.rows_per_second).run(sweep, tell).await?;
        if let Some(failure) = copied.failure {
            let message = format!(
                "{} of {} records were not copied, the first because: {}; start again when that is mended",
                copied.failed,
                copied.looked_at,
                failure.message()
            );
            tell(copied.looked_at, copied.copied).await?;
            return Err(self.whose(Error::new(failure.kind(), message).with_source(failure)));
        }
        self.update(&[Phase::Copying], "be copied", |entry, now| {
            (entry.phase, entry.since) = (Phase::Copied, now);
            (entry.looked_at, entry.copied) = (copied.looked_at, copied.copied);
        })
        .await
        .map(|(_, status)| status)
    }

    /// What has come back to a store where it once was no longer leads elsewhere.
    async fn forget_in_target(&self, to: &str) -> Result<()> {
        let target = self.target(to)?;
        let watch = self.mirror.watch();
        super::Ledger::change(&**target, &*watch.clock, self.call(), |ledger| {
            ledger.0.retain(|_, entry| {
                let about = entry.scope().is_ok_and(|own| overlap(&own, self.scope));
                !(about && entry.phase == Phase::Finished)
            });
            Ok(())
        })
        .await
        .map_err(|e| self.whose(e))
    }
}
