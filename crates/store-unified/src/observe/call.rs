//! A call under way, from its beginning to its outcome.

use std::sync::Arc;

use feature_core::Error;
use tokio::time::Instant;
use tracing::Span;

use super::series::{Series, Status};

/// Counts a call and its rows. One that is dropped without an outcome was given up by its caller.
pub(crate) struct Call {
    /// `None` once the call has been counted, or if it is not to be counted.
    series: Option<Arc<Series>>,
    rows: usize,
    began: Instant,
    /// That of the first row that failed.
    status: Status,
    span: Span,
}

impl Call {
    pub(crate) fn begin(series: Option<Arc<Series>>, rows: usize, span: Span) -> Self {
        Self { series, rows, began: Instant::now(), status: Status::OK, span }
    }

    /// The span in which the call does its work, and to which its status is added.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Counts rows that have been answered so.
    pub(crate) fn rows(&self, status: Status, rows: usize) {
        if let Some(series) = self.series.as_ref().filter(|_| rows > 0) {
            series.rows(status, rows);
        }
    }

    /// Takes note of an error, and gives its status.
    pub(crate) fn failed(&mut self, error: &Error) -> Status {
        let status = Status::from(error.kind());
        if self.status == Status::OK {
            self.status = status;
        }
        status
    }

    /// The call has ended: each of its rows with a status or an error.
    pub(crate) fn answered<'e>(mut self, rows: impl Iterator<Item = Result<Status, &'e Error>>) {
        if self.series.is_none() {
            return;
        }
        // Rows mostly have the status of the one before.
        let mut run = (Status::OK, 0);
        for row in rows {
            let status = row.unwrap_or_else(|error| self.failed(error));
            if status != run.0 {
                self.rows(run.0, run.1);
                run = (status, 0);
            }
            run.1 += 1;
        }
        self.rows(run.0, run.1);
        self.end();
    }

    /// The call as a whole has failed.
    pub(crate) fn refused(self, error: &Error) {
        let rows = self.rows.max(1);
        self.answered(std::iter::repeat_n(error, rows).map(Err));
    }

    /// The call has ended, and its rows have been counted.
    pub(crate) fn end(mut self) {
        self.count(self.status);
    }

    fn count(&mut self, status: Status) {
        if let Some(series) = self.series.take() {
            series.call(status, self.began.elapsed());
            self.span.record("status", status.name());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.rows(Status::DROPPED, self.rows);
        self.count(Status::DROPPED);
    }
}
