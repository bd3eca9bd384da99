//! `feature_views`: what pipelines may write and models expect.

use std::collections::{BTreeMap, HashMap};

use feature_core::{FeatureView, Ttl, ValueType, ViewPart};

use super::reader::Field;

pub(super) fn read(field: Field<'_>) -> Vec<FeatureView> {
    let mut lines = HashMap::new();
    let mut views = Vec::new();
    for item in field.items() {
        let Some((view, name)) = view(&item) else { continue };
        if let Some(first) = lines.insert(view.name.clone(), name.line()) {
            name.fail(format!(
                "feature view `{}` is declared twice; the first is in line {first}",
                view.name
            ));
        }
        views.push(view);
    }
    views
}

/// A view and where its name stands.
fn view<'a>(field: &Field<'a>) -> Option<(FeatureView, Field<'a>)> {
    let mut section = field.section()?;
    let name = section.need("name");
    let entities = section.need("entities");
    let features = section.need("features");
    let ttl = section.take("ttl");
    let max_age = section.take("max_age");
    let mut description = String::new();
    section.set("description", &mut description, |field| field.text().map(str::to_owned));
    section.finish();

    let entity_fields = entities.as_ref().map(Field::items).unwrap_or_default();
    let feature_fields = features.as_ref().and_then(Field::entries).unwrap_or_default();
    let type_of = |(name, field): &(&str, Field<'_>)| {
        Some(((*name).to_owned(), field.parsed::<ValueType>("the type of a feature")?))
    };
    let name_text = name.as_ref().and_then(Field::text);
    let entity_texts: Vec<Option<&str>> = entity_fields.iter().map(Field::text).collect();
    let types: Vec<Option<(String, ValueType)>> = feature_fields.iter().map(type_of).collect();
    let complete = entity_texts.iter().all(Option::is_some) && types.iter().all(Option::is_some);
    let view = FeatureView {
        name: name_text?.to_owned(),
        description,
        entities: entity_texts.into_iter().flatten().map(str::to_owned).collect(),
        features: types.into_iter().flatten().collect::<BTreeMap<_, _>>(),
        ttl: ttl.as_ref().and_then(lifetime),
        max_age: max_age.as_ref().and_then(Field::seconds_or_duration),
    };
    for (part, problem) in view.problems() {
        let field_of = match &part {
            ViewPart::Name => name.as_ref(),
            // What could not be read may have been what is missing.
            ViewPart::Entities | ViewPart::Features | ViewPart::Entity(_) if !complete => continue,
            ViewPart::Entities => entities.as_ref(),
            ViewPart::Entity(at) => entity_fields.get(*at),
            ViewPart::Features => features.as_ref(),
            ViewPart::Feature(name) => {
                feature_fields.iter().find(|(own, _)| own == name).map(|(_, field)| field)
            }
            ViewPart::Ttl => ttl.as_ref(),
            ViewPart::MaxAge => max_age.as_ref(),
        };
        if let Some(field) = field_of {
            field.fail(problem);
        }
    }
    name.map(|name| (view, name))
}

fn lifetime(field: &Field<'_>) -> Option<Ttl> {
    match field.text_if_any() {
        Some("never") => Some(Ttl::Never),
        _ => field.seconds_or_duration().map(Ttl::After),
    }
}
