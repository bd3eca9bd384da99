//! `feature_views`: what pipelines may write and models expect.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use feature_core::{FeatureView, Ttl, ValueType, ViewPart};

use super::reader::Field;

/// The views of a file.
#[derive(Default)]
pub(super) struct Views {
    by_name: BTreeMap<String, FeatureView>,
    /// Views that could be read in part.
    partial: BTreeSet<String>,
    /// Whether there is a view whose name could not be read.
    nameless: bool,
}

impl Views {
    pub(super) fn by_name(&self) -> &BTreeMap<String, FeatureView> {
        &self.by_name
    }

    pub(super) fn into_list(self) -> Vec<FeatureView> {
        self.by_name.into_values().collect()
    }

    /// Whether a view's features are known, or that there is no such view.
    pub(super) fn can_tell(&self, name: &str) -> bool {
        !self.partial.contains(name) && (!self.nameless || self.by_name.contains_key(name))
    }

    /// Says so where a value names a view that there is not.
    pub(super) fn check(&self, field: &Field<'_>, name: &str) {
        if self.can_tell(name) && !self.by_name.contains_key(name) {
            let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            field.unknown("declared feature view", name, &known);
        }
    }

    /// Whether all views could be read.
    pub(super) fn are_whole(&self) -> bool {
        self.partial.is_empty() && !self.nameless
    }
}

pub(super) fn read(field: &Field<'_>) -> Views {
    let mut views = Views::default();
    let mut lines = HashMap::new();
    for item in field.items() {
        let Some(Read { view, name, whole }) = view(&item) else {
            views.nameless = true;
            continue;
        };
        if !whole {
            views.partial.insert(view.name.clone());
        }
        match lines.entry(view.name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(name.line());
                views.by_name.insert(view.name.clone(), view);
            }
            Entry::Occupied(first) => name.fail(format!(
                "feature view `{}` is declared twice; the first is in line {}",
                view.name,
                first.get()
            )),
        }
    }
    views
}

/// A view, where its name stands, and whether there was nothing that could not be read.
struct Read<'a> {
    view: FeatureView,
    name: Field<'a>,
    whole: bool,
}

fn view<'a>(field: &Field<'a>) -> Option<Read<'a>> {
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
    let whole = entity_texts.iter().all(Option::is_some) && types.iter().all(Option::is_some);
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
            ViewPart::Entities | ViewPart::Features | ViewPart::Entity(_) if !whole => continue,
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
    Some(Read { view, name: name?, whole })
}

fn lifetime(field: &Field<'_>) -> Option<Ttl> {
    match field.text_if_any() {
        Some("never") => Some(Ttl::Never),
        _ => field.seconds_or_duration().map(Ttl::After),
    }
}
