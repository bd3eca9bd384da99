//! `stores`: the databases, by name.

use feature_core::{Result, StoreUrl};

use super::reader::Field;

/// A store as the file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreEntry {
    /// Its name.
    pub name: String,
    /// What to connect to.
    pub url: StoreUrl,
}

/// The names of the stores, for what refers to them; `None` where they could not be read.
pub(super) struct StoreNames<'a>(Option<Vec<&'a str>>);

impl StoreNames<'_> {
    /// The store that a value names.
    pub(super) fn find(&self, field: &Field<'_>) -> Option<String> {
        let name = field.name()?;
        let known = self.0.as_deref().unwrap_or(&[]);
        if self.0.is_some() && !known.contains(&name) {
            field.unknown("store", name, known);
            return None;
        }
        Some(name.to_owned())
    }

    /// The only store that there is.
    pub(super) fn only(&self) -> Option<&str> {
        match self.0.as_deref() {
            Some(&[only]) => Some(only),
            _ => None,
        }
    }

    /// Whether there are several, so that one must be the default.
    pub(super) fn are_several(&self) -> bool {
        self.0.as_ref().is_some_and(|names| names.len() > 1)
    }
}

pub(super) fn read<'a>(
    field: Option<&Field<'a>>,
    check_url: &dyn Fn(&StoreUrl) -> Result<()>,
) -> (Vec<StoreEntry>, StoreNames<'a>) {
    let Some(entries) = field.and_then(Field::entries) else {
        return (Vec::new(), StoreNames(None));
    };
    if let (Some(field), true) = (field, entries.is_empty()) {
        field.fail("there is no store");
    }
    let names = entries.iter().map(|(name, _)| *name).collect();
    let stores = entries.iter().filter_map(|(name, field)| store(name, field, check_url)).collect();
    (stores, StoreNames(Some(names)))
}

fn store(name: &str, field: &Field<'_>, check_url: &dyn Fn(&StoreUrl) -> Result<()>) -> Option<StoreEntry> {
    if name.is_empty() {
        field.fail("the name of the store is empty");
    }
    let name = name.to_owned();
    // A store of which there is only the URL to say.
    if field.is_text() {
        return Some(StoreEntry { name, url: url(field, check_url)? });
    }
    let mut section = field.section()?;
    let url = section.need("url").and_then(|field| url(&field, check_url));
    section.finish();
    Some(StoreEntry { name, url: url? })
}

/// A store's URL; no problem shows it.
fn url(field: &Field<'_>, check: &dyn Fn(&StoreUrl) -> Result<()>) -> Option<StoreUrl> {
    let parsed = StoreUrl::parse(field.text()?).and_then(|url| check(&url).map(|()| url));
    parsed.map_err(|error| field.fail(error.message())).ok()
}
