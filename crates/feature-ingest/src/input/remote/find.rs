//! From the URL of an object, of a prefix, or with a pattern to the objects.

use std::collections::HashSet;
use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;

use glob::{MatchOptions, Pattern};
use object_store::Error;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;

use super::super::find::{is_note, is_passed_over, of_name, partitions};
use super::super::{Input, Place};
use super::explain::explain;
use super::object::Object;
use super::store::{Kind, Location, Store, environment};
use crate::error::{IngestError, Result};
use crate::options::Format;

/// What makes a name a pattern.
const SIGNS: [char; 3] = ['*', '?', '['];
/// As in a file system: `*` and `?` stop at a slash.
const LIKE_FILES: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// The objects that a URL stands for, sorted.
pub(crate) fn find(url: &str, format: Option<Format>) -> Result<Vec<Input>> {
    find_with(url, format, environment())
}

/// The same with these environment variables.
pub(super) fn find_with(
    url: &str,
    format: Option<Format>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Vec<Input>> {
    let location = Location::parse(url)?;
    let store = Store::open(&location, variables)?;
    Found { location, store, format }.inputs()
}

/// What a URL names.
pub(super) struct Found {
    pub(super) location: Location,
    pub(super) store: Arc<Store>,
    pub(super) format: Option<Format>,
}

impl Found {
    pub(super) fn inputs(&self) -> Result<Vec<Input>> {
        let key = self.location.key.as_str();
        if self.location.kind == Kind::Http {
            return Ok(vec![self.named()?.map_err(|e| self.unreadable(&e))?]);
        }
        if key.is_empty() || key.ends_with('/') && !key.contains(SIGNS) {
            return self.below(key.trim_end_matches('/'));
        }
        if key.contains(SIGNS) {
            return self.matching(key.trim_end_matches('/'));
        }
        match self.named()? {
            Ok(input) => Ok(vec![input]),
            Err(e @ Error::NotFound { .. }) => match self.below(key) {
                // A folder, whose slash was left out.
                Ok(inputs) if !inputs.is_empty() => Ok(inputs),
                _ => Err(self.unreadable(&e)),
            },
            Err(e) => Err(self.unreadable(&e)),
        }
    }

    /// The object that the URL names.
    fn named(&self) -> Result<std::result::Result<Input, Error>> {
        let key = &self.location.key;
        let path = self.location.path(key)?;
        Ok(Object::named(&self.store, path).map(|object| self.input(key, object)))
    }

    /// All objects below a prefix, without notes.
    fn below(&self, folder: &str) -> Result<Vec<Input>> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut objects = self.list(&prefix)?;
        objects.retain(|(path, _)| has_no_notes(path.as_ref().get(prefix.len()..).unwrap_or_default()));
        Ok(self.found(objects))
    }

    /// The objects that a pattern names, and those in the folders that it names.
    fn matching(&self, pattern: &str) -> Result<Vec<Input>> {
        let parsed = Pattern::new(pattern).map_err(|e| {
            IngestError::Request(format!(
                "`{}` is not a pattern for objects: {e}",
                self.location.name(pattern)
            ))
        })?;
        let literal = pattern.split(SIGNS).next().unwrap_or_default();
        let mut objects = self.list(literal)?;
        if let Some(at) = objects.iter().position(|(path, _)| path.as_ref() == pattern) {
            // A name may have the signs of a pattern.
            return Ok(self.found(vec![objects.swap_remove(at)]));
        }
        objects.retain(|(path, _)| is_meant(&parsed, path.as_ref()));
        Ok(self.found(objects))
    }

    /// All objects whose names begin so, with their sizes.
    fn list(&self, prefix: &str) -> Result<Vec<(Path, u64)>> {
        let name = self.location.name(prefix);
        let Some(lister) = &self.store.lister else {
            return Err(IngestError::Request(format!("{name} cannot be listed")));
        };
        let list = async {
            let objects = list(&**lister, prefix).await;
            objects.map_err(|e| io::Error::other(explain(self.store.kind, &e)))
        };
        let objects = self.store.wait(list);
        let mut objects = objects.map_err(|e| IngestError::Input(format!("cannot list {name}: {e}")))?;
        objects.sort();
        // Some programs mark a folder with an empty object of its name.
        let names = objects.iter().map(|(path, _)| path.as_ref()).chain([prefix]);
        let folders: HashSet<String> = names.flat_map(folders).map(str::to_owned).collect();
        objects.retain(|(path, bytes)| *bytes > 0 || !folders.contains(path.as_ref()));
        Ok(objects)
    }

    fn found(&self, objects: Vec<(Path, u64)>) -> Vec<Input> {
        let object = |(path, bytes): (Path, u64)| {
            let key = path.to_string();
            self.input(&key, Object::new(Arc::clone(&self.store), path, bytes))
        };
        objects.into_iter().map(object).collect()
    }

    fn input(&self, key: &str, object: Object) -> Input {
        Input {
            name: self.location.name(key),
            format: self.format.or_else(|| of_name(key)),
            partitions: match self.location.kind {
                Kind::Http => Vec::new(),
                _ => partitions(key.split('/')),
            },
            bytes: Some(object.bytes()),
            place: Place::Object(object),
        }
    }

    fn unreadable(&self, e: &Error) -> IngestError {
        let name = self.location.name(&self.location.key);
        IngestError::Input(format!("cannot read {name}: {}", explain(self.store.kind, e)))
    }
}

/// All pages of a list.
async fn list(lister: &dyn PaginatedListStore, prefix: &str) -> object_store::Result<Vec<(Path, u64)>> {
    let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
    let (mut objects, mut page_token) = (Vec::new(), None);
    loop {
        let options = PaginatedListOptions { page_token, ..PaginatedListOptions::default() };
        let page = lister.list_paginated(prefix, options).await?;
        objects.extend(page.result.objects.into_iter().map(|meta| (meta.location, meta.size)));
        match page.page_token {
            Some(next) => page_token = Some(next),
            None => return Ok(objects),
        }
    }
}

/// The folders in which something of this name is.
fn folders(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(at, _)| &key[..at])
}

fn has_no_notes(key: &str) -> bool {
    !key.split('/').any(|part| is_passed_over(FilePath::new(part)))
}

/// Whether a pattern names an object, or a folder in which it is and of which it is no note.
fn is_meant(pattern: &Pattern, key: &str) -> bool {
    folders(key).chain([key]).any(|named| {
        let inside = key[named.len()..].trim_start_matches('/');
        pattern.matches_with(named, LIKE_FILES)
            && !is_note(FilePath::new(named), pattern.as_str())
            && has_no_notes(inside)
    })
}
