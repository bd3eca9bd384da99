//! Writes and deletes.

use feature_core::{EntityKey, Error, FeatureView, FeatureWrite, WriteReport};
use tokio::time::Instant;

use super::{Cause, Refusal, RowFailure, TenantCall};

/// What was asked to be written, row by row: a row, or why there is none.
pub(crate) type WriteRows = Vec<Result<FeatureWrite, Error>>;

/// What became of each row of a write.
pub(crate) struct Written {
    /// By row: what the store says, or why the row could not be sent.
    pub(crate) rows: Vec<feature_core::Result<feature_core::WriteOutcome>>,
}

/// What became of an entity's records in one view.
pub(crate) struct Forgotten {
    pub(crate) view: String,
    /// The rows of the request that have the view's join keys, each with whether there was a record.
    pub(crate) rows: Vec<(usize, feature_core::Result<bool>)>,
}

impl TenantCall<'_> {
    /// The declaration of a view; `None` where no views are declared.
    ///
    /// # Errors
    /// Where views are declared and this is none of them.
    pub(crate) fn declared(&self, view: &str) -> Result<Option<&FeatureView>, Refusal> {
        self.check_view(view)?;
        Ok(self.call.registry().and_then(|registry| registry.view(view)))
    }

    /// Writes rows of one view. Rows that could not be understood keep no other from being written.
    pub(crate) async fn write(&mut self, view: &str, rows: WriteRows) -> Result<Written, Refusal> {
        self.check_view(view)?;
        self.call.check_rows(rows.len())?;
        let mut outcomes = Vec::with_capacity(rows.len());
        let mut writes = Vec::with_capacity(rows.len());
        for row in rows {
            match row {
                Ok(write) => {
                    outcomes.push(None);
                    writes.push(write);
                }
                Err(error) => outcomes.push(Some(Err(error))),
            }
        }
        let report = match writes.is_empty() {
            true => WriteReport::default(),
            false => {
                let (store, began) = (self.store_to_write()?, Instant::now());
                let report = store.batch_write(&self.tenant, view, writes).await;
                self.note_write(view, began.elapsed(), first_error(&report));
                report?
            }
        };
        let mut written = report.rows().iter().cloned();
        let lost =
            || Err(Error::new(feature_core::ErrorKind::Internal, "the store gave no outcome for the row"));
        let rows: Vec<_> = outcomes
            .into_iter()
            .map(|row| row.unwrap_or_else(|| written.next().unwrap_or_else(lost)))
            .collect();
        every_row(rows.iter().map(|row| row.as_ref().err()))?;
        Ok(Written { rows })
    }

    /// Removes records: for each entity whether there was one.
    pub(crate) async fn delete(
        &mut self,
        view: &str,
        entities: &[EntityKey],
    ) -> Result<Vec<feature_core::Result<bool>>, Refusal> {
        self.check_view(view)?;
        self.call.check_rows(entities.len())?;
        let (store, began) = (self.store_to_write()?, Instant::now());
        let rows = store.delete(&self.tenant, view, entities).await;
        self.note_write(view, began.elapsed(), rows.as_ref().err());
        let rows = rows?;
        every_row(rows.iter().map(|row| row.as_ref().err()))?;
        Ok(rows)
    }

    /// Removes the records of entities in every declared view whose join keys they have.
    pub(crate) async fn forget(&mut self, entities: &[EntityKey]) -> Result<Vec<Forgotten>, Refusal> {
        self.call.check_rows(entities.len())?;
        let registry = self.call.registry().cloned().ok_or_else(|| {
            Refusal::invalid(
                "no feature view is declared, so it is not known which have these entities: delete them view by view",
            )
        })?;
        let store = self.store_to_write()?;
        let mut forgotten = Vec::new();
        for view in registry.views() {
            let keys: Vec<(usize, EntityKey)> = entities
                .iter()
                .enumerate()
                .filter_map(|(row, key)| Some((row, key.project(&view.entities)?)))
                .collect();
            if keys.is_empty() {
                continue;
            }
            let (numbers, keys): (Vec<usize>, Vec<EntityKey>) = keys.into_iter().unzip();
            let rows = store.delete(&self.tenant, &view.name, &keys).await?;
            forgotten
                .push(Forgotten { view: view.name.clone(), rows: numbers.into_iter().zip(rows).collect() });
        }
        every_row(forgotten.iter().flat_map(|view| view.rows.iter().map(|(_, row)| row.as_ref().err())))?;
        Ok(forgotten)
    }
}

/// Why a write failed as a whole.
fn first_error(report: &Result<WriteReport, Error>) -> Option<&Error> {
    match report {
        Err(error) => Some(error),
        Ok(report) if report.failures().count() == report.rows().len() => {
            report.failures().next().map(|(_, error)| error)
        }
        Ok(_) => None,
    }
}

/// A call of which every row failed has failed.
fn every_row<'a>(rows: impl Iterator<Item = Option<&'a Error>>) -> Result<(), Refusal> {
    let mut failures = Vec::new();
    for (row, error) in rows.enumerate() {
        let Some(error) = error else { return Ok(()) };
        failures.push(RowFailure { row, error: error.clone() });
    }
    match failures.first() {
        None => Ok(()),
        Some(first) => {
            // That one row may have been written is so of the whole call.
            let in_doubt = failures.iter().any(|failure| failure.error.in_doubt());
            let error = first.error.clone().with_in_doubt(in_doubt);
            Err(Refusal::new(Cause::EveryRow(failures), error))
        }
    }
}
