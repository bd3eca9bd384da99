//! What is noted of a call, view by view.

use std::time::Duration;

use feature_core::{Error, Timestamp};
use store_unified::{CellStatus, FeatureRef, FeatureRequest};

use super::{Refusal, Table, TenantCall};
use crate::activity::Sampled;

/// Of so many rows it is noted how old they are, at most, and by so many of the features of a view: more would cost
/// more than it tells.
const ROWS: usize = 10;
const FEATURES: usize = 8;

impl TenantCall<'_> {
    /// A read has ended, of what a model asks for.
    pub(super) fn note_read(
        &self,
        request: &FeatureRequest,
        took: Duration,
        result: &Result<Table, Refusal>,
    ) {
        let Some(registry) = self.call.registry() else { return };
        let mut noted: Vec<&str> = Vec::new();
        for view in request.references(registry).iter().map(FeatureRef::view) {
            if !noted.contains(&view) {
                noted.push(view);
                self.note_read_of(view, took, result);
            }
        }
    }

    /// A read of one view has ended, or its part of a read.
    pub(super) fn note_read_of(&self, view: &str, took: Duration, result: &Result<Table, Refusal>) {
        let live = &self.call.live;
        let sampled = result.as_ref().map(|table| sampled(table, view, live.clock.now()));
        let result = sampled.as_ref().map_err(|refusal| refusal.error());
        live.activity.read((&self.tenant, view), took, result);
    }

    /// A write or a delete has ended.
    pub(super) fn note_write(&self, view: &str, took: Duration, error: Option<&Error>) {
        self.call.live.activity.write((&self.tenant, view), took, error);
    }
}

fn sampled(table: &Table, view: &str, now: Timestamp) -> Sampled {
    let rows = table.rows();
    let every = rows.div_ceil(ROWS).max(1);
    let samples: Vec<usize> = (0..rows).step_by(every).collect();
    let mut newest: Vec<Option<Timestamp>> = vec![None; samples.len()];
    let mut outside = vec![false; samples.len()];
    for column in table.columns().filter(|column| column.view == view).take(FEATURES) {
        for (at, row) in samples.iter().enumerate() {
            newest[at] = newest[at].max(column.event_time(*row));
            outside[at] |= column.statuses[*row] == CellStatus::OutsideMaxAge;
        }
    }
    Sampled {
        ages: newest.into_iter().map(|newest| newest.map(|newest| now.since(newest))).collect(),
        outside: outside.into_iter().map(u32::from).sum(),
    }
}
