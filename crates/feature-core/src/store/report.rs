//! What reads and writes come to.

use crate::error::{Error, Result};
use crate::row::FeatureRow;

/// The rows of a batch read, in the order of the entity keys asked for; `Ok(None)` where the entity has
/// no record.
pub type BatchRows = Vec<Result<Option<FeatureRow>>>;

/// What became of one row of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// Something of it is part of the stored record.
    Applied,
    /// Nothing of it was newer than what the store has, or than what another row of the same batch
    /// brought for the entity. Not a failure: it is what makes late and repeated writes harmless.
    Superseded,
}

/// What became of a batch of writes, row by row.
#[derive(Clone, Debug, Default)]
pub struct WriteReport {
    rows: Vec<Result<WriteOutcome>>,
}

impl WriteReport {
    pub(crate) fn new(rows: Vec<Result<WriteOutcome>>) -> Self {
        Self { rows }
    }

    /// The outcome of each row, in the order of the batch.
    pub fn rows(&self) -> &[Result<WriteOutcome>] {
        &self.rows
    }

    /// How many rows the store has accepted: applied and superseded ones.
    pub fn written(&self) -> usize {
        self.rows.iter().filter(|row| row.is_ok()).count()
    }

    /// How many rows were applied.
    pub fn applied(&self) -> usize {
        self.count(WriteOutcome::Applied)
    }

    /// How many rows were superseded.
    pub fn superseded(&self) -> usize {
        self.count(WriteOutcome::Superseded)
    }

    fn count(&self, outcome: WriteOutcome) -> usize {
        self.rows.iter().filter(|row| matches!(row, Ok(own) if *own == outcome)).count()
    }

    /// The rows that failed: index in the batch, and why.
    pub fn failures(&self) -> impl Iterator<Item = (usize, &Error)> {
        self.rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref().err()?)))
    }

    /// The report, unless a row failed.
    ///
    /// # Errors
    /// The error of the first row that failed.
    pub fn into_result(self) -> Result<Self> {
        let first = self.failures().next().map(|(_, error)| error.clone());
        first.map_or(Ok(self), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_its_rows_by_what_became_of_them() {
        let (applied, superseded) = (Ok(WriteOutcome::Applied), Ok(WriteOutcome::Superseded));
        let failed = |what: &str| Err(Error::invalid_argument(what));
        let rows = vec![superseded.clone(), failed("first"), applied.clone(), failed("second")];
        let report = WriteReport::new(rows);
        assert_eq!((report.written(), report.applied(), report.superseded()), (2, 1, 1));
        assert_eq!(report.rows().len(), 4);
        let failures: Vec<_> = report.failures().map(|(row, error)| (row, error.message())).collect();
        assert_eq!(failures, [(1, "first"), (3, "second")]);
        assert_eq!(report.into_result().unwrap_err().message(), "first");
        let rows = vec![applied, superseded.clone(), superseded];
        let report = WriteReport::new(rows).into_result().unwrap();
        assert_eq!((report.written(), report.applied(), report.superseded()), (3, 1, 2));
    }
}
