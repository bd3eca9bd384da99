//! `routes` and `default`: which records live where.

use super::reader::{Field, Section};
use super::stores::StoreNames;
use crate::store::{Destination, RouteRule};
use crate::wrappers::Pattern;

/// The routes, and the line of each.
pub(super) fn read(field: Option<Field<'_>>, stores: &StoreNames<'_>) -> (Vec<RouteRule>, Vec<usize>) {
    let items = field.map(|field| field.items()).unwrap_or_default();
    let mut routes: Vec<RouteRule> = Vec::new();
    let mut lines = Vec::new();
    for item in items {
        let Some(rule) = route(&item, stores) else { continue };
        let covers =
            |earlier: &RouteRule| earlier.tenant.covers(&rule.tenant) && earlier.view.covers(&rule.view);
        if let Some(earlier) = routes.iter().position(covers) {
            let line = lines[earlier];
            item.fail(format!("it never counts, since the route of line {line} has all that it is about"));
        }
        lines.push(item.line());
        routes.push(rule);
    }
    (routes, lines)
}

/// The destination of what no route is about: as stated, or the only store.
pub(super) fn read_default(
    field: Option<Field<'_>>,
    root: &Section<'_>,
    stores: &StoreNames<'_>,
) -> Destination {
    if field.is_none() && stores.are_several() {
        root.field()
            .member_fail("default", "it is missing: there are several stores, say which is the default");
    }
    let stated = field.and_then(|field| {
        let mut section = field.section()?;
        let to = destination(&mut section, stores);
        section.finish();
        to
    });
    // What stands in for a default that cannot be read is not used: the problem has been said.
    stated.unwrap_or_else(|| Destination::new(stores.only().unwrap_or_default()))
}

fn route(field: &Field<'_>, stores: &StoreNames<'_>) -> Option<RouteRule> {
    let mut section = field.section()?;
    let tenant = pattern(&mut section, "tenant");
    let view = pattern(&mut section, "view");
    let to = destination(&mut section, stores);
    section.finish();
    Some(RouteRule { tenant: tenant?, view: view?, to: to? })
}

/// Which names; all of them where it does not say.
pub(super) fn pattern(section: &mut Section<'_>, key: &'static str) -> Option<Pattern> {
    match section.take(key) {
        Some(field) => field.parsed("a name, the beginning of names as in `eu-*`, or `*`"),
        None => Some(Pattern::any()),
    }
}

fn destination(section: &mut Section<'_>, stores: &StoreNames<'_>) -> Option<Destination> {
    let store = section.need("store").and_then(|field| stores.find(&field));
    Some(Destination::new(store?))
}
