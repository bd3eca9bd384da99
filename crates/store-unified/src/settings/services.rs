//! `feature_services`: what models ask for, across views.

use std::collections::HashMap;

use super::reader::Field;
use super::views::Views;
use crate::registry::plan::Plan;
use crate::registry::{FeatureRef, FeatureService};

pub(super) fn read(field: &Field<'_>, views: &Views) -> Vec<FeatureService> {
    let mut lines = HashMap::new();
    let mut services: Vec<FeatureService> = Vec::new();
    for item in field.items() {
        let Some((service, name)) = service(&item, views) else { continue };
        if let Some(first) = lines.insert(service.name.clone(), name.line()) {
            let own = &service.name;
            name.fail(format!("feature service `{own}` is declared twice; the first is in line {first}"));
        }
        services.push(service);
    }
    services
}

/// A service and where its name stands.
fn service<'a>(field: &Field<'a>, views: &Views) -> Option<(FeatureService, Field<'a>)> {
    let mut section = field.section()?;
    let name = section.need("name");
    let features = section.need("features");
    let mut description = String::new();
    section.set("description", &mut description, |field| field.text().map(str::to_owned));
    section.finish();

    let name_text = name.as_ref().and_then(Field::name);
    let items = features.as_ref().map(Field::items).unwrap_or_default();
    let reference =
        |field: &Field<'_>| field.parsed::<FeatureRef>("a feature, as `view:feature` or `view:*`");
    let references: Vec<Option<FeatureRef>> = items.iter().map(reference).collect();
    // Each by itself, for the sake of its line; then what they are together.
    let mut all_there = true;
    for (item, reference) in items.iter().zip(&references) {
        let there = reference.as_ref().is_some_and(|reference| is_there(item, reference, views));
        all_there &= there;
    }
    let references: Vec<FeatureRef> = references.into_iter().flatten().collect();
    if let (Some(field), true) = (&features, all_there && views.are_whole()) {
        let problems = Plan::resolve(views.by_name(), &references).err().unwrap_or_default();
        problems.into_iter().for_each(|problem| field.fail(problem));
    }
    Some((FeatureService { name: name_text?.to_owned(), description, features: references }, name?))
}

/// Whether there is such a feature. Nothing is said of a view that could not be read.
fn is_there(field: &Field<'_>, reference: &FeatureRef, views: &Views) -> bool {
    if !views.can_tell(reference.view()) {
        return true;
    }
    let problems = Plan::resolve(views.by_name(), std::slice::from_ref(reference)).err().unwrap_or_default();
    let there = problems.is_empty();
    problems.into_iter().for_each(|problem| field.fail(problem));
    there
}
