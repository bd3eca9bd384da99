//! `cache`: what this process may keep in memory.

use std::time::Duration;

use super::reader::Field;
use super::views::Views;
use crate::pattern::Pattern;
use crate::wrappers::CacheSettings;

/// What says that something is not cached.
const OFF: &str = "off";

/// The cache. With views only these can be cached.
pub(super) fn read(field: &Field<'_>, views: Option<&Views>) -> Option<CacheSettings> {
    let mut section = field.section()?;
    let mut cache = CacheSettings::default();
    section.set("max_bytes", &mut cache.max_bytes, |field| field.bytes_above_zero());
    section.set("ttl", &mut cache.ttl, |field| ttl(&field));
    let of_views = section.take("views");
    let is_empty = cache.ttl.is_none() && of_views.is_none();
    section.finish();
    if is_empty && !field.has_failed() {
        field.fail("it caches nothing: state `ttl` for all views, or `views` with the ttl of each");
    }
    let Some(of_views) = of_views else { return Some(cache) };
    for (name, field) in of_views.entries()? {
        let Ok(pattern) = name.parse::<Pattern>().map_err(|error| field.fail(error.message())) else {
            continue;
        };
        if let (Some(views), Pattern::Name(name)) = (views, &pattern) {
            views.check(&field, name);
        }
        if let Some((earlier, _)) = cache.views.iter().find(|(earlier, _)| earlier.covers(&pattern)) {
            field.fail(format!("it never counts, since `{earlier}` comes before it"));
        }
        cache.views.extend(ttl(&field).map(|ttl| (pattern, ttl)));
    }
    Some(cache)
}

fn ttl(field: &Field<'_>) -> Option<Option<Duration>> {
    match field.text_if_any() {
        Some(OFF) => Some(None),
        _ => field.duration_above_zero().map(Some),
    }
}
