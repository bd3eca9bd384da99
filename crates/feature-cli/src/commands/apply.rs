//! `apply` and `views`: the declared feature views.

use std::fs;

use feature_core::{FeatureView, format_duration};
use feature_store::unified::view_contradictions;
use serde_json::{Value, json};

use super::Open;
use crate::cli::ApplyArgs;
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;

pub(super) async fn run(open: &Open, args: ApplyArgs, output: &mut Output) -> Result<Exit> {
    let ApplyArgs { file, force } = args;
    let catalog = open.catalog()?;
    let text = fs::read_to_string(&file)
        .map_err(|e| Failure::Other(format!("cannot read {}: {e}", file.display())))?;
    let is_json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let views = if is_json { FeatureView::from_json(&text)? } else { FeatureView::from_yaml(&text)? };

    let declared = catalog.all().await?;
    // All or nothing: look at every view before the first is changed.
    let refused: Vec<String> = views
        .iter()
        .filter_map(|view| Some((view, view_contradictions(declared.get(&view.name)?, view))))
        .filter(|(_, problems)| !problems.is_empty())
        .map(|(view, problems)| format!("feature view `{}`: {}", view.name, problems.join("; ")))
        .collect();
    if !refused.is_empty() && !force {
        return Err(Failure::Other(format!(
            "nothing was applied, since stored records may contradict the change: {}. Declare another view, or \
             use --force",
            refused.join("; ")
        )));
    }
    let mut rows = output.rows(&["view", "outcome"]);
    for view in &views {
        let outcome = match declared.get(&view.name) {
            Some(old) if old == view => "unchanged",
            Some(_) => "changed",
            None => "added",
        };
        if outcome != "unchanged" {
            catalog.declare(view).await?;
        }
        rows.push(vec![json!(view.name), json!(outcome)])?;
    }
    rows.finish()?;
    Ok(Exit::Done)
}

pub(super) async fn views(open: &Open, names: &[String], output: &mut Output) -> Result<Exit> {
    let declared = open.views().await?;
    if names.is_empty() {
        let mut rows = output.rows(&["view", "entities", "features", "ttl", "max_age", "description"]);
        for view in declared.values() {
            let [ttl, max_age] = lifetimes(view);
            rows.push(vec![
                json!(view.name),
                json!(view.entities.join(", ")),
                json!(view.features.len()),
                ttl,
                max_age,
                json!(view.description),
            ])?;
        }
        rows.finish()?;
        return Ok(Exit::Done);
    }
    let mut rows = output.rows(&["view", "name", "type", "role"]);
    for name in names {
        let Some(view) = declared.get(name) else {
            let known: Vec<_> = declared.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Failure::Other(format!(
                "no feature view `{name}` is declared; declared are {known}"
            )));
        };
        for entity in &view.entities {
            rows.push(vec![json!(name), json!(entity), Value::Null, json!("entity")])?;
        }
        for (feature, value_type) in &view.features {
            rows.push(vec![json!(name), json!(feature), json!(value_type.name()), json!("feature")])?;
        }
        let [ttl, max_age] = lifetimes(view);
        rows.push(vec![json!(name), json!("ttl"), ttl, json!("setting")])?;
        rows.push(vec![json!(name), json!("max_age"), max_age, json!("setting")])?;
    }
    rows.finish()?;
    Ok(Exit::Done)
}

fn lifetimes(view: &FeatureView) -> [Value; 2] {
    [json!(view.ttl.unwrap_or_default().to_string()), json!(view.max_age.map(format_duration))]
}
