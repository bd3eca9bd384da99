//! How settings differ from those that were loaded: by name and without values, so that no secret is among it.

use std::collections::BTreeMap;
use std::time::Duration;

use store_unified::{Pattern, Registry, Settings, TenantRule};

use super::{AuthSettings, KeyEntry, Limits, ServerSettings, Timeouts};

/// Settings as they were read.
pub(crate) type Both<'a> = (&'a Settings, &'a ServerSettings);

/// What a difference is about: not everybody may know of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    View(String),
    Service(String),
    Tenants(Pattern),
    /// What only those decide who run the server.
    Operation,
}

/// How something is not as it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Added,
    Removed,
    Changed,
}

/// Something that is not as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) about: About,
    /// Where it is in the settings, such as `server.limits.rows`.
    pub(crate) path: String,
    pub(crate) how: How,
}

/// How settings differ from those that were loaded.
pub(crate) fn differences(loaded: Both<'_>, now: Both<'_>) -> Vec<Difference> {
    let mut all = Vec::new();
    let registries = [&loaded.0.registry, &now.0.registry];
    let views = registries
        .map(|registry| by_name(registry.iter().flat_map(Registry::views), |view| view.name.clone()));
    compare(&mut all, "feature_views", &views, |name| About::View(name.to_owned()));
    let services = registries.map(|registry| {
        by_name(registry.iter().flat_map(Registry::services), |service| service.name.clone())
    });
    compare(&mut all, "feature_services", &services, |name| About::Service(name.to_owned()));
    tenants(&mut all, &loaded.0.tenants, &now.0.tenants);
    let stores = [loaded, now].map(|(settings, _)| by_name(&settings.stores, |store| store.name.clone()));
    compare(&mut all, "stores", &stores, |_| About::Operation);
    of_server(&mut all, loaded.1, now.1);
    let ((loaded, _), (now, _)) = (loaded, now);
    for (path, same) in [
        ("routes", loaded.routes == now.routes),
        ("default", loaded.default == now.default),
        ("deadline", loaded.calls.deadline == now.calls.deadline),
        ("max_future_skew", loaded.calls.max_future_skew == now.calls.max_future_skew),
        ("cache", loaded.cache == now.cache),
        ("migration", loaded.migration == now.migration),
    ] {
        unless(&mut all, same, path);
    }
    all
}

fn tenants(all: &mut Vec<Difference>, loaded: &[TenantRule], now: &[TenantRule]) {
    let before = all.len();
    let rules = [loaded, now].map(|rules| by_name(rules, |rule| rule.tenant.to_string()));
    let pattern = |name: &str| name.parse().map_or(About::Operation, About::Tenants);
    compare(all, "tenants", &rules, pattern);
    // The first that matches counts.
    unless(all, loaded == now || all.len() > before, "tenants: their order");
}

fn of_server(all: &mut Vec<Difference>, loaded: &ServerSettings, now: &ServerSettings) {
    // All of them are named here, so that none is forgotten.
    let ServerSettings { listen, admin, insecure, tls, auth, limits, timeouts, feast } = loaded;
    for (path, same) in [
        ("server.listen", *listen == now.listen),
        ("server.admin", *admin == now.admin),
        ("server.insecure", *insecure == now.insecure),
        ("server.tls", *tls == now.tls),
        ("server.feast", *feast == now.feast),
    ] {
        unless(all, same, path);
    }
    compare(all, "server.limits", &[limits, &now.limits].map(|limits| limits_by_name(*limits)), |_| {
        About::Operation
    });
    let timeouts = [timeouts, &now.timeouts].map(|timeouts| timeouts_by_name(*timeouts));
    compare(all, "server.timeouts", &timeouts, |_| About::Operation);
    match (auth, &now.auth) {
        (Some(auth), Some(now)) => of_auth(all, auth, now),
        (auth, now) => unless(all, auth == now, "server.auth"),
    }
}

fn of_auth(all: &mut Vec<Difference>, loaded: &AuthSettings, now: &AuthSettings) {
    let AuthSettings { keys, jwt, clients } = loaded;
    let name = |key: &&KeyEntry| key.grant.name.clone();
    compare(all, "server.auth.keys", &[by_name(keys, name), by_name(&now.keys, name)], |_| About::Operation);
    unless(all, *jwt == now.jwt, "server.auth.jwt");
    unless(all, *clients == now.clients, "server.auth.clients");
}

fn limits_by_name(limits: Limits) -> BTreeMap<String, Vec<usize>> {
    let Limits { body, rows, cells, response, in_flight, ingests, connections, memory } = limits;
    let all = [
        ("body", body),
        ("rows", rows),
        ("cells", cells),
        ("response", response),
        ("in_flight", in_flight),
        ("ingests", ingests),
        ("connections", connections),
        ("memory", memory),
    ];
    all.into_iter().map(|(name, limit)| (name.to_owned(), vec![limit])).collect()
}

fn timeouts_by_name(timeouts: Timeouts) -> BTreeMap<String, Vec<Duration>> {
    let Timeouts { header, idle, write, request, drain, slow } = timeouts;
    let all = [
        ("header", header),
        ("idle", idle),
        ("write", write),
        ("request", request),
        ("drain", drain),
        ("slow", slow),
    ];
    all.into_iter().map(|(name, time)| (name.to_owned(), vec![time])).collect()
}

/// What there is, by name: several may have the same.
fn by_name<T>(all: impl IntoIterator<Item = T>, name: impl Fn(&T) -> String) -> BTreeMap<String, Vec<T>> {
    let mut named: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for one in all {
        named.entry(name(&one)).or_default().push(one);
    }
    named
}

/// What differs between what was loaded and what is now.
fn compare<T: PartialEq>(
    all: &mut Vec<Difference>,
    section: &str,
    [loaded, now]: &[BTreeMap<String, Vec<T>>; 2],
    about: impl Fn(&str) -> About,
) {
    let mut add = |name: &str, how| {
        all.push(Difference { about: about(name), path: format!("{section}.{name}"), how });
    };
    for (name, before) in loaded {
        match now.get(name) {
            None => add(name, How::Removed),
            Some(after) if before != after => add(name, How::Changed),
            Some(_) => {}
        }
    }
    now.keys().filter(|name| !loaded.contains_key(*name)).for_each(|name| add(name, How::Added));
}

fn unless(all: &mut Vec<Difference>, same: bool, path: &str) {
    if !same {
        all.push(Difference { about: About::Operation, path: path.to_owned(), how: How::Changed });
    }
}

#[cfg(test)]
mod tests {
    use store_unified::{SettingsFormat, SettingsReader};

    use super::*;

    fn read(text: &str) -> (Settings, ServerSettings) {
        super::super::read(&SettingsReader::new(SettingsFormat::Yaml), text).unwrap()
    }

    fn found(loaded: &str, now: &str) -> Vec<String> {
        let (loaded, now) = (read(loaded), read(now));
        let found = differences((&loaded.0, &loaded.1), (&now.0, &now.1));
        found.into_iter().map(|one| format!("{:?} {}", one.how, one.path)).collect()
    }

    const LOADED: &str = "
stores: { main: 'redis://:secret@a', bulk: 'redis://b' }
default: { store: main }
routes: [{ tenant: acme, view: '*', store: bulk }]
deadline: 1s
tenants: [{ tenant: acme, class: a }, { tenant: 'eu-*', class: b }]
server:
  limits: { rows: 10 }
  timeouts: { slow: 1s }
  auth: { keys: [{ name: k, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, tenants: [acme], rights: [read] }] }
feature_views:
  - { name: one, entities: [id], features: { a: int64 } }
  - { name: two, entities: [id], features: { a: int64 } }
feature_services: [{ name: s, features: ['one:*'] }]
";

    #[test]
    fn each_part_that_differs_is_named() {
        assert!(found(LOADED, LOADED).is_empty());
        assert!(found(LOADED, &format!("# moved down\n\n{LOADED}")).is_empty(), "lines do not count");
        for (this, that, expected) in [
            ("name: two", "name: three", &["Removed feature_views.two", "Added feature_views.three"][..]),
            (
                "name: two, entities: [id], features: { a",
                "name: two, entities: [id], features: { b",
                &["Changed feature_views.two"],
            ),
            ("name: s, features: ['one:*']", "name: s, features: ['two:*']", &["Changed feature_services.s"]),
            (":secret@a", ":other@a", &["Changed stores.main"]),
            ("view: '*'", "view: one", &["Changed routes"]),
            ("default: { store: main }", "default: { store: bulk }", &["Changed default"]),
            ("deadline: 1s", "deadline: 2s", &["Changed deadline"]),
            ("deadline: 1s", "deadline: 1s\ncache: { ttl: 1s }", &["Changed cache"]),
            ("class: b", "class: c", &["Changed tenants.eu-*"]),
            ("rows: 10", "rows: 11", &["Changed server.limits.rows"]),
            ("slow: 1s", "slow: 2s", &["Changed server.timeouts.slow"]),
            ("sha256: aa", "sha256: ab", &["Changed server.auth.keys.k"]),
            ("  limits:", "  listen: 127.0.0.1:1\n  limits:", &["Changed server.listen"]),
            (
                "{ tenant: acme, class: a }, { tenant: 'eu-*', class: b }",
                "{ tenant: 'eu-*', class: b }, { tenant: acme, class: a }",
                &["Changed tenants: their order"],
            ),
        ] {
            assert!(LOADED.contains(this), "{this}");
            assert_eq!(found(LOADED, &LOADED.replace(this, that)), expected, "{that}");
        }
    }
}
