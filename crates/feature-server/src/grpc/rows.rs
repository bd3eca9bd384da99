//! Rows to be written, as they are in messages.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    EntityKey, Error, FeatureNames, FeatureValue, FeatureWrite, Features, Timestamp, Ttl, WriteMode,
};

use super::entities;
use super::proto::fstore as pb;
use super::value::{Cells, of_one, values};
use crate::calls::{Refusal, Reservation, WriteRows, limit_of, shown};
use crate::settings::Limits;

/// What a value, and a row, take that are ready to be written.
const BYTES_OF_CELL: usize = 40;
const BYTES_OF_ROW: usize = 160;

/// What holds for rows that do not say otherwise.
#[derive(Clone, Copy)]
struct Common {
    event_time: Option<i64>,
    ttl: Option<u64>,
    mode: i32,
}

impl Common {
    fn write(self, entity: EntityKey, features: Features, own: Self) -> FeatureWrite {
        let ttl = own.ttl.or(self.ttl).map(|micros| match micros {
            0 => Ttl::Never,
            micros => Ttl::After(Duration::from_micros(micros)),
        });
        let mode = if own.mode == 0 { self.mode } else { own.mode };
        FeatureWrite {
            timestamp: own.event_time.or(self.event_time).map(Timestamp::from_micros),
            ttl,
            mode: if mode == pb::WriteMode::Replace as i32 { WriteMode::Replace } else { WriteMode::Merge },
            ..FeatureWrite::new(entity, features)
        }
    }
}

/// How many rows there are.
fn number(rows: &pb::WriteRows) -> usize {
    match &rows.entities {
        Some(entities) => entities::rows(entities),
        None => rows.rows.len(),
    }
}

/// Rows as the store takes them, within the limits, and with memory for them.
pub(super) fn write_rows(
    rows: Option<pb::WriteRows>,
    limits: &Limits,
    memory: &mut Reservation,
) -> Result<WriteRows, Refusal> {
    let rows = rows.ok_or_else(|| Refusal::invalid("`rows` is missing"))?;
    let modes = rows.rows.iter().map(|row| row.mode).chain([rows.mode]);
    if modes.into_iter().any(|mode| pb::WriteMode::try_from(mode).is_err()) {
        return Err(Refusal::invalid("`mode` is neither merge nor replace"));
    }
    let number = number(&rows);
    limit_of("the request", number, limits.rows, "rows (limits.rows)")?;
    let in_columns = rows.entities.is_some() || !rows.columns.is_empty();
    if in_columns && !rows.rows.is_empty() {
        return Err(Refusal::invalid("expected either `rows`, or `entities` and `columns`"));
    }
    if !in_columns && !rows.event_times_micros.is_empty() {
        return Err(Refusal::invalid("`event_times_micros` is of `entities`; rows have their own times"));
    }
    let cells = match in_columns {
        true => number.saturating_mul(rows.columns.len()),
        false => rows.rows.iter().map(|row| row.features.len()).sum(),
    };
    limit_of("the request", cells, limits.cells, "values (limits.cells)")?;
    memory.grow(cells * BYTES_OF_CELL + number * BYTES_OF_ROW)?;
    let mut cells = Cells::default();
    let common = Common { event_time: rows.event_time_micros, ttl: rows.ttl_micros, mode: rows.mode };
    let writes = match in_columns {
        true => table(rows, common, &mut cells)?,
        false => rows.rows.into_iter().map(|row| one(row, common, &mut cells)).collect(),
    };
    limit_of("the request", cells.0, limits.cells, "values (limits.cells)")?;
    Ok(writes)
}

/// A row by itself.
fn one(row: pb::Row, common: Common, cells: &mut Cells) -> Result<FeatureWrite, Error> {
    let mut key = EntityKey::builder();
    for (name, value) in row.entity {
        key = match value.kind {
            Some(pb::entity_value::Kind::String(text)) => key.with(&name, text),
            Some(pb::entity_value::Kind::Int(number)) => key.with(&name, number),
            None => {
                let name = shown(&name);
                return Err(Error::invalid_argument(format!("the join key `{name}` has no value")));
            }
        };
    }
    let mut features = Vec::with_capacity(row.features.len());
    for (name, value) in row.features {
        let value = of_one(value, cells).map_err(|error| of_feature(&name, &error))?;
        features.push((name, value));
    }
    let own = Common { event_time: row.event_time_micros, ttl: row.ttl_micros, mode: row.mode };
    Ok(common.write(key.build()?, features.into_iter().collect(), own))
}

fn of_feature(name: &str, error: &Error) -> Error {
    Error::invalid_argument(format!("the feature `{}`: {}", shown(name), error.message()))
}

/// Columns as rows.
fn table(rows: pb::WriteRows, common: Common, cells: &mut Cells) -> Result<WriteRows, Error> {
    let pb::WriteRows { entities, mut columns, event_times_micros: times, .. } = rows;
    let keys = entities::keys(entities)?;
    let ragged = |what: String, values: usize| {
        Error::invalid_argument(format!(
            "{what} has {values} values and there are {} entities: each row needs one",
            keys.len()
        ))
    };
    if !times.is_empty() && times.len() != keys.len() {
        return Err(ragged("`event_times_micros`".to_owned(), times.len()));
    }
    columns.sort_unstable_by(|a, b| a.feature.cmp(&b.feature));
    if let Some(twice) = columns.windows(2).find(|pair| pair[0].feature == pair[1].feature) {
        let name = shown(&twice[0].feature);
        return Err(Error::invalid_argument(format!("the feature `{name}` has two columns")));
    }
    let names: FeatureNames = columns.iter().map(|column| column.feature.as_str()).collect();
    let names = Arc::new(names);
    let mut whole = true;
    let mut all = Vec::with_capacity(columns.len());
    for pb::WriteColumn { feature, values: column, cells: kinds } in columns {
        let column =
            values(column.unwrap_or_default(), cells).map_err(|error| of_feature(&feature, &error))?;
        if column.len() != keys.len() {
            return Err(ragged(format!("the feature `{}`", shown(&feature)), column.len()));
        }
        if !kinds.is_empty() && kinds.len() != keys.len() {
            return Err(ragged(format!("`cells` of the feature `{}`", shown(&feature)), kinds.len()));
        }
        whole &= !kinds.contains(&(pb::CellKind::Absent as i32));
        all.push((feature, column.into_iter(), kinds));
    }
    let row = |(number, key): (usize, EntityKey)| {
        let mut present = Vec::with_capacity(all.len());
        for (name, values, kinds) in &mut all {
            let value = values.next().unwrap_or(FeatureValue::Null);
            let kind = kinds.get(number).copied().unwrap_or_default();
            match pb::CellKind::try_from(kind) {
                Ok(pb::CellKind::Value) => present.push((name.as_str(), value)),
                Ok(pb::CellKind::Null) => present.push((name.as_str(), FeatureValue::Null)),
                Ok(pb::CellKind::Absent) => {}
                Err(_) => {
                    let message = format!("`cells` has {kind}, which is none of its values");
                    return Err(of_feature(name, &Error::invalid_argument(message)));
                }
            }
        }
        let features = match whole {
            true => Features::of_names(&names, present.into_iter().map(|(_, value)| value).collect())?,
            false => present.into_iter().collect(),
        };
        let own = Common { event_time: times.get(number).copied(), ttl: None, mode: 0 };
        Ok(common.write(key, features, own))
    };
    Ok(keys.into_iter().enumerate().map(row).collect())
}
