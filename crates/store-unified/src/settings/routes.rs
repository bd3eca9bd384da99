//! `routes` and `default`: which records live where.

use super::policies;
use super::reader::{Field, Section};
use super::stores::StoreNames;
use super::views::Views;
use crate::pattern::Pattern;
use crate::store::{Destination, RouteRule};
use crate::wrappers::{FallbackSettings, MirrorSettings};

/// The routes, and the line of each. With views only these can be routed.
pub(super) fn read(
    field: Option<Field<'_>>,
    stores: &StoreNames<'_>,
    views: Option<&Views>,
) -> (Vec<RouteRule>, Vec<usize>) {
    let items = field.map(|field| field.items()).unwrap_or_default();
    let mut routes: Vec<RouteRule> = Vec::new();
    let mut lines = Vec::new();
    for item in items {
        let Some(rule) = route(&item, stores, views) else { continue };
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

/// The destination of records that no route matches: as stated, or the only store.
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

fn route(field: &Field<'_>, stores: &StoreNames<'_>, views: Option<&Views>) -> Option<RouteRule> {
    let mut section = field.section()?;
    let tenant = pattern(&mut section, "tenant");
    let view = match section.take("view") {
        Some(field) => {
            let pattern = named(&field);
            if let (Some(views), Some(Pattern::Name(name))) = (views, &pattern) {
                views.check(&field, name);
            }
            pattern
        }
        None => Some(Pattern::any()),
    };
    let to = destination(&mut section, stores);
    section.finish();
    Some(RouteRule { tenant: tenant?, view: view?, to: to? })
}

/// Which names; all of them where it does not say.
pub(super) fn pattern(section: &mut Section<'_>, key: &'static str) -> Option<Pattern> {
    section.take(key).map_or(Some(Pattern::any()), |field| named(&field))
}

fn named(field: &Field<'_>) -> Option<Pattern> {
    field.parsed("a name, the beginning of names as in `eu-*`, or `*`")
}

fn destination(section: &mut Section<'_>, stores: &StoreNames<'_>) -> Option<Destination> {
    let store = section.need("store").and_then(|field| stores.find(&field));
    let fallback = section.take("fallback").and_then(|field| fallback(&field, store.as_deref(), stores));
    let mirror = section.take("mirror").and_then(|field| mirror(&field, store.as_deref(), stores));
    Some(Destination { fallback, mirror, ..Destination::new(store?) })
}

/// Another store than the first.
fn other(
    section: &mut Section<'_>,
    first: Option<&str>,
    stores: &StoreNames<'_>,
    what: &str,
) -> Option<String> {
    let field = section.need("store")?;
    let store = stores.find(&field)?;
    if first == Some(&*store) {
        field.fail(format!("a store cannot be its own {what}"));
    }
    Some(store)
}

fn fallback(
    field: &Field<'_>,
    first: Option<&str>,
    stores: &StoreNames<'_>,
) -> Option<(String, FallbackSettings)> {
    let mut section = field.section()?;
    let store = other(&mut section, first, stores, "fallback");
    let settings = policies::fallback(&mut section);
    section.finish();
    Some((store?, settings))
}

fn mirror(field: &Field<'_>, first: Option<&str>, stores: &StoreNames<'_>) -> Option<MirrorSettings> {
    let mut section = field.section()?;
    let to = other(&mut section, first, stores, "mirror");
    let mut required = false;
    section.set("required", &mut required, |field| field.bool());
    section.finish();
    Some(MirrorSettings { to: to?, required })
}
