//! `stores`: the databases, by name.

use feature_core::{Result, StoreUrl};

use super::policies;
use super::reader::Field;
use crate::wrappers::{CircuitSettings, HedgeSettings, LimitSettings, RetrySettings};

/// A store as the file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreEntry {
    /// Its name.
    pub name: String,
    /// What to connect to.
    pub url: StoreUrl,
    /// How calls that failed are tried again; `None` is not at all.
    pub retry: Option<RetrySettings>,
    /// When a slow read is sent a second time; `None` is never.
    pub hedge: Option<HedgeSettings>,
    /// When the store is left alone for a while; `None` is never.
    pub circuit: Option<CircuitSettings>,
    /// How many calls it may get at a time; `None` is any number.
    pub limit: Option<LimitSettings>,
}

impl StoreEntry {
    fn new(name: String, url: StoreUrl) -> Self {
        Self { name, url, retry: None, hedge: None, circuit: None, limit: None }
    }
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
        return Some(StoreEntry::new(name, url(field, check_url)?));
    }
    let mut section = field.section()?;
    let url = section.need("url").and_then(|field| url(&field, check_url));
    let retry = section.take("retry").and_then(|field| policies::retry(&field));
    let hedge = section.take("hedge").and_then(|field| policies::hedge(&field));
    let circuit = section.take("circuit").and_then(|field| policies::circuit(&field));
    let limit = section.take("limit").and_then(|field| policies::limit(&field));
    section.finish();
    Some(StoreEntry { retry, hedge, circuit, limit, ..StoreEntry::new(name, url?) })
}

/// A store's URL; no problem shows it.
fn url(field: &Field<'_>, check: &dyn Fn(&StoreUrl) -> Result<()>) -> Option<StoreUrl> {
    let parsed = StoreUrl::parse(field.text()?).and_then(|url| check(&url).map(|()| url));
    parsed.map_err(|error| field.fail(error.message())).ok()
}
