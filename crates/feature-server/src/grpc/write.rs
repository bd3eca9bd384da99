//! Writes, deletes and purges.

use feature_core::{Error, WriteOutcome};

use super::call::Method;
use super::entities::{keys, rows};
use super::measure::{DELETE, SMALL, Shape, WRITE};
use super::proto::fstore as pb;
use super::read::row_error;
use super::rows::write_rows;
use crate::auth::Right;
use crate::calls::{Call, Refusal};
use crate::observe::Route;

/// `Write`.
pub(super) struct Write;

impl Method for Write {
    const ROUTE: Route = Route::Write;
    const SHAPE: &'static Shape = &WRITE;
    type Request = pb::WriteRequest;
    type Response = pb::WriteResponse;

    async fn handle(call: &mut Call, request: pb::WriteRequest) -> Result<pb::WriteResponse, Refusal> {
        let pb::WriteRequest { tenant, view, rows } = request;
        call.on(&tenant, Right::Write)?.declared(&view)?;
        let limits = call.live.settings.limits;
        let rows = write_rows(rows, &limits, &mut call.memory)?;
        let written = call.on(&tenant, Right::Write)?.write(&view, rows).await?;
        let counts = Counts::of(&written.rows);
        let all_applied = counts.applied == written.rows.len() as u64;
        Ok(pb::WriteResponse {
            applied: counts.applied,
            superseded: counts.superseded,
            failed: counts.failed,
            outcomes: match all_applied {
                true => Vec::new(),
                false => written.rows.iter().map(|row| outcome(row) as i32).collect(),
            },
            errors: errors(written.rows.iter().enumerate()),
        })
    }
}

/// How many rows came to what.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) applied: u64,
    pub(super) superseded: u64,
    pub(super) failed: u64,
}

impl Counts {
    pub(super) fn of(rows: &[Result<WriteOutcome, Error>]) -> Self {
        let mut counts = Self::default();
        for row in rows {
            match row {
                Ok(WriteOutcome::Applied) => counts.applied += 1,
                Ok(WriteOutcome::Superseded) => counts.superseded += 1,
                Err(_) => counts.failed += 1,
            }
        }
        counts
    }
}

fn outcome(row: &Result<WriteOutcome, Error>) -> pb::WriteOutcome {
    match row {
        Ok(WriteOutcome::Applied) => pb::WriteOutcome::Applied,
        Ok(WriteOutcome::Superseded) => pb::WriteOutcome::Superseded,
        Err(error) if error.in_doubt() => pb::WriteOutcome::InDoubt,
        Err(_) => pb::WriteOutcome::Failed,
    }
}

/// Why rows failed.
pub(super) fn errors<'a, T: 'a>(
    rows: impl Iterator<Item = (usize, &'a Result<T, Error>)>,
) -> Vec<pb::RowError> {
    rows.filter_map(|(row, outcome)| Some(row_error(row, outcome.as_ref().err()?))).collect()
}

/// `Delete`.
pub(super) struct Delete;

impl Method for Delete {
    const ROUTE: Route = Route::Delete;
    const SHAPE: &'static Shape = &DELETE;
    type Request = pb::DeleteRequest;
    type Response = pb::DeleteResponse;

    async fn handle(call: &mut Call, request: pb::DeleteRequest) -> Result<pb::DeleteResponse, Refusal> {
        let pb::DeleteRequest { tenant, view, entities } = request;
        call.check_rows(entities.as_ref().map_or(0, rows))?;
        let mut on = call.on(&tenant, Right::Write)?;
        let entities = keys(entities)?;
        if view.is_empty() {
            let views = on.forget(&entities).await?;
            let views = views.into_iter().map(|own| deleted(own.view, &own.rows)).collect();
            return Ok(pb::DeleteResponse { views });
        }
        let rows: Vec<_> = on.delete(&view, &entities).await?.into_iter().enumerate().collect();
        Ok(pb::DeleteResponse { views: vec![deleted(view, &rows)] })
    }
}

fn deleted(view: String, rows: &[(usize, Result<bool, Error>)]) -> pb::DeletedView {
    pb::DeletedView {
        view,
        rows: rows.len() as u64,
        deleted: rows.iter().filter(|(_, row)| matches!(row, Ok(true))).count() as u64,
        errors: errors(rows.iter().map(|(number, row)| (*number, row))),
    }
}

/// `Purge`.
pub(super) struct Purge;

impl Method for Purge {
    const ROUTE: Route = Route::Purge;
    const SHAPE: &'static Shape = &SMALL;
    type Request = pb::PurgeRequest;
    type Response = pb::PurgeResponse;

    async fn handle(call: &mut Call, request: pb::PurgeRequest) -> Result<pb::PurgeResponse, Refusal> {
        let pb::PurgeRequest { tenant, view, whole_tenant } = request;
        let on = call.on(&tenant, Right::Admin)?;
        let removed = match (view.is_empty(), whole_tenant) {
            (false, false) => on.purge(Some(&view)).await?,
            (true, true) => on.purge(None).await?,
            _ => return Err(Refusal::invalid("expected either `view` or `whole_tenant`")),
        };
        Ok(pb::PurgeResponse { removed })
    }
}
