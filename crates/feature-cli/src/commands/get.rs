//! `get`: features of entities.

use feature_core::{EntityKey, FeatureRow, ViewKey};

use super::{Open, service};
use crate::cli::GetArgs;
use crate::exit::{Exit, Result, say};
use crate::feature_rows::{FeatureRows, is_wide, names_in};
use crate::output::Output;

pub(super) async fn run(open: &Open, args: GetArgs, output: &mut Output) -> Result<Exit> {
    if let Some(service) = &args.service {
        return service::run(open, service, &args, output).await;
    }
    let GetArgs { tenant, view, features, max_age, entities, .. } = args;
    let view = ViewKey::new(&tenant, view.as_deref().unwrap_or_default())?;
    let mut store = open.store(Some(view.view())).await?;
    if let Some(max_age) = max_age {
        store = store.with_max_age(max_age);
    }
    let names: Vec<&str> = features.iter().map(String::as_str).collect();
    let wanted = (!names.is_empty()).then_some(&*names);
    let declared = store.view(view.view()).map(|view| view.features.keys().cloned().collect());
    let known = if features.is_empty() { declared } else { Some(features.clone()) };

    // Without known columns a table has to wait for the last row; JSON need not.
    let mut held: Vec<(EntityKey, Option<FeatureRow>)> = Vec::new();
    let hold = known.is_none() && is_wide(output.format());
    let (mut found, mut failed) = (0_usize, 0_usize);
    let mut rows = FeatureRows::new(output, known.unwrap_or_default(), false);
    for keys in super::entities(&entities) {
        let keys = keys?;
        let read = store.batch_read(view.tenant(), view.view(), &keys, wanted).await?;
        for (entity, row) in keys.into_iter().zip(read) {
            match row {
                Ok(row) => {
                    found += usize::from(row.is_some());
                    if hold {
                        held.push((entity, row));
                    } else {
                        rows.push(&view, &entity, row.as_ref())?;
                    }
                }
                Err(error) => {
                    failed += 1;
                    say(format_args!("fstore: {error}"));
                }
            }
        }
    }
    if hold {
        drop(rows);
        rows = FeatureRows::new(output, names_in(held.iter().filter_map(|(_, row)| row.as_ref())), false);
        for (entity, row) in &held {
            rows.push(&view, entity, row.as_ref())?;
        }
    }
    rows.finish()?;
    Ok(match (found, failed) {
        (_, 1..) => Exit::Partly,
        (0, 0) => Exit::NothingFound,
        _ => Exit::Done,
    })
}
