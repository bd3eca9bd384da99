//! `config`: what a settings file describes.

use std::path::Path;

use feature_core::format_duration;
use feature_store::unified::{Destination, Quota, Registry, Settings};
use serde_json::{Value, json};

use crate::cli::{ConfigCommand, Place, Target};
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;
use crate::settings;
use crate::streams::{self, Stream};

pub(super) fn run(command: ConfigCommand, target: &Target, output: &mut Output) -> Result<Exit> {
    let given = match target {
        Target::Settings(file) => Some(file.as_path()),
        Target::Store(_) => None,
    };
    let needed = |file: Option<&Path>| match file {
        Some(file) => settings::load(file),
        None => Err(Failure::Usage("which settings file? Say --config FILE".to_owned())),
    };
    match command {
        ConfigCommand::Check { file } => {
            let file = file.as_deref().or(given);
            let settings = needed(file)?;
            let streams = file.map(streams::load).transpose()?.unwrap_or_default();
            check(&settings, &streams, output)
        }
        ConfigCommand::Route(place) => route(&needed(given)?, &place, output),
    }
}

fn check(settings: &Settings, streams: &[Stream], output: &mut Output) -> Result<Exit> {
    let mut rows = output.rows(&["kind", "name", "says"]);
    for store in &settings.stores {
        let policies = [
            ("retry", store.retry.is_some()),
            ("hedge", store.hedge.is_some()),
            ("circuit", store.circuit.is_some()),
            ("limit", store.limit.is_some()),
        ];
        let policies = policies.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
        let says: Vec<String> =
            std::iter::once(store.url.to_string()).chain(policies.map(str::to_owned)).collect();
        rows.push(vec![json!("store"), json!(store.name), json!(says.join(", "))])?;
    }
    for route in &settings.routes {
        let name = format!("{}:{}", route.tenant, route.view);
        rows.push(vec![json!("route"), json!(name), json!(destination(&route.to))])?;
    }
    rows.push(vec![json!("default"), json!("*:*"), json!(destination(&settings.default))])?;
    for rule in &settings.tenants {
        let says =
            format!("class {}{}", rule.class, if rule.quota == Quota::default() { "" } else { ", quota" });
        rows.push(vec![json!("tenants"), json!(rule.tenant.to_string()), json!(says)])?;
    }
    if let Some(cache) = &settings.cache {
        rows.push(vec![json!("cache"), Value::Null, json!(format!("{} bytes", cache.max_bytes))])?;
    }
    let registry = settings.registry.as_ref();
    for view in registry.into_iter().flat_map(Registry::views) {
        let says = format!("{} features of {}", view.features.len(), view.entities.join(", "));
        rows.push(vec![json!("feature view"), json!(view.name), json!(says)])?;
    }
    for service in registry.into_iter().flat_map(Registry::services) {
        let features: Vec<_> = service.features.iter().map(ToString::to_string).collect();
        rows.push(vec![json!("feature service"), json!(service.name), json!(features.join(", "))])?;
    }
    for Stream { name, source, .. } in streams {
        rows.push(vec![json!("stream"), json!(name), json!(source.describe())])?;
    }
    rows.finish()?;
    Ok(Exit::Done)
}

/// Where records go, in words.
fn destination(to: &Destination) -> String {
    let mut says = to.store.clone();
    if let Some((store, settings)) = &to.fallback {
        says.push_str(&format!(", else {store} after {}", format_duration(settings.after)));
    }
    if let Some(mirror) = &to.mirror {
        says.push_str(&format!(", {} {}", mirrored(mirror.required), mirror.to));
    }
    says
}

/// What a mirror is, in words.
fn mirrored(required: bool) -> &'static str {
    if required { "always mirrored to" } else { "mirrored to" }
}

fn route(settings: &Settings, place: &Place, output: &mut Output) -> Result<Exit> {
    let decision = settings.route(&place.tenant, &place.view)?;
    let rule = match decision.rule.and_then(|rule| settings.routes.get(rule)) {
        Some(rule) => json!(format!("{}:{}", rule.tenant, rule.view)),
        None => json!("default"),
    };
    let fallback = decision.to.fallback.as_ref();
    output.record(&[
        ("tenant", json!(place.tenant)),
        ("view", json!(place.view)),
        ("store", json!(decision.to.store)),
        ("fallback", json!(fallback.map(|(store, _)| store))),
        ("fallback_after", json!(fallback.map(|(_, settings)| format_duration(settings.after)))),
        ("mirror", json!(decision.to.mirror.as_ref().map(|mirror| &mirror.to))),
        ("mirror_required", json!(decision.to.mirror.as_ref().map(|mirror| mirror.required))),
        ("rule", rule),
        ("line", settings.line_of(&decision).map_or(Value::Null, |line| json!(line))),
    ])?;
    Ok(Exit::Done)
}
