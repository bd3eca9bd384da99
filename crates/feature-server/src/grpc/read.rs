//! Reads.

use std::time::Duration;

use feature_core::{Error, Timestamp};
use store_unified::{CellStatus, RowError};

use super::call::Method;
use super::entities::{keys, rows};
use super::measure::{READ, Shape};
use super::proto::fstore as pb;
use super::value::{column, type_number};
use crate::auth::Right;
use crate::calls::{Call, Column, ReadRequest, Refusal, Table, Wanted};
use crate::observe::Route;

/// `Read`.
pub(super) struct Read;

impl Method for Read {
    const ROUTE: Route = Route::Read;
    const SHAPE: &'static Shape = &READ;
    type Request = pb::ReadRequest;
    type Response = pb::ReadResponse;

    async fn handle(call: &mut Call, request: pb::ReadRequest) -> Result<pb::ReadResponse, Refusal> {
        let pb::ReadRequest { tenant, service, view, features, entities, max_age_micros, .. } = request;
        let (full_names, times) = (request.full_feature_names, request.event_times);
        call.check_rows(entities.as_ref().map_or(0, rows))?;
        let mut on = call.on(&tenant, Right::Read)?;
        let entities = keys(entities)?;
        let max_age = max_age_micros.map(Duration::from_micros);
        let table = match (service.is_empty(), view.is_empty(), features.is_empty()) {
            (false, true, true) => {
                on.read(ReadRequest { wanted: Wanted::Service(service), entities, max_age }).await?
            }
            (true, false, none) => {
                on.read_view(&view, (!none).then_some(&*features), entities, max_age).await?
            }
            (true, true, false) => {
                let wanted: Result<_, Error> = features.iter().map(|feature| feature.parse()).collect();
                on.read(ReadRequest { wanted: Wanted::Features(wanted?), entities, max_age }).await?
            }
            _ => {
                return Err(Refusal::invalid(
                    "expected one of `service`, `view` (with names of its features or without), and `features`",
                ));
            }
        };
        Ok(response(&table, full_names, times))
    }
}

fn response(table: &Table, full_names: bool, times: bool) -> pb::ReadResponse {
    pb::ReadResponse {
        rows: table.rows() as u32,
        columns: table.columns().map(|own| of_column(&own, full_names, times)).collect(),
        errors: table.errors().iter().map(of_error).collect(),
        from_fallback: table
            .fallback_rows()
            .map(|(view, rows)| pb::ViewRows {
                view: view.to_owned(),
                rows: rows.iter().map(|row| *row as u32).collect(),
            })
            .collect(),
    }
}

fn of_column(own: &Column<'_>, full_names: bool, times: bool) -> pb::Column {
    pb::Column {
        name: if full_names { own.full_name() } else { own.name.to_owned() },
        view: own.view.to_owned(),
        feature: own.feature.to_owned(),
        r#type: own.value_type.map_or(0, type_number),
        values: Some(column(own.values, own.value_type)),
        statuses: match own.is_full() {
            true => Vec::new(),
            false => own.statuses.iter().map(|status| of_status(*status) as i32).collect(),
        },
        event_time_micros: match times {
            true => own.event_times().map(|time| time.map_or(0, Timestamp::as_micros)).collect(),
            false => Vec::new(),
        },
    }
}

fn of_status(status: CellStatus) -> pb::CellStatus {
    match status {
        CellStatus::Present => pb::CellStatus::Present,
        CellStatus::Null => pb::CellStatus::Null,
        CellStatus::NotFound => pb::CellStatus::NotFound,
        CellStatus::OutsideMaxAge => pb::CellStatus::OutsideMaxAge,
        CellStatus::Failed => pb::CellStatus::Failed,
    }
}

fn of_error(error: &RowError) -> pb::RowError {
    pb::RowError {
        view: error.view.clone(),
        feature: error.feature.clone().unwrap_or_default(),
        ..row_error(error.row, &error.error)
    }
}

/// Why a row failed.
pub(super) fn row_error(row: usize, error: &Error) -> pb::RowError {
    pb::RowError {
        row: row as u64,
        kind: error.kind().name().to_owned(),
        message: error.message().to_owned(),
        in_doubt: error.in_doubt(),
        retryable: error.is_retryable(),
        view: String::new(),
        feature: String::new(),
    }
}
