//! Which crate may depend on which, and the proof that they keep to it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use crate::process::{Result, metadata, root};

/// What the core must not pull in, so that it compiles without any database.
pub(crate) const DATABASE_CLIENTS: [&str; 5] = ["redb", "redis", "fred", "aerospike", "aerospike-core"];

/// Why a crate of the workspace must not depend on another; `None` when it may. `dev` is for a
/// dependency of tests and benchmarks alone.
fn objection(from: &str, to: &str, dev: bool) -> Option<&'static str> {
    let allowed = match (from, to) {
        (_, "xtask" | "fstore-tests") => return Some("nothing depends on the workspace's tools and tests"),
        ("fstore-tests", _) => true,
        ("xtask", _) => return Some("xtask compiles quickly because it depends on no other crate"),
        ("feature-core", _) => return Some("feature-core depends on no other crate"),
        // The wheel brings the program.
        ("feature-python", "feature-cli") => true,
        (_, "feature-cli") => return Some("nothing but tests and the wheel depends on the program"),
        (_, "store-testkit") => {
            return (!dev).then_some("store-testkit is for tests: make it a dev-dependency");
        }
        (_, "feature-core") | ("feature-cli", _) => true,
        ("feature-store", to) => to.starts_with("store-"),
        ("feature-server", "store-unified" | "feature-ingest") => true,
        // What these are tested on is the tests' business.
        ("feature-server" | "feature-ingest" | "feature-ops", _) => dev,
        ("feature-python", "feature-store" | "feature-ingest") => true,
        _ => false,
    };
    (!allowed).then_some(
        "a store, feature-ingest and feature-ops depend on feature-core alone, feature-store on the core and the \
         stores, feature-server on the core, store-unified and feature-ingest, feature-python on feature-store, \
         feature-ingest and feature-cli",
    )
}

/// Proves that every edge is allowed, and that the core needs no database client.
///
/// # Errors
/// Each edge that is not, with the file it is written in.
pub(crate) fn check() -> Result<()> {
    let metadata = metadata(&["--locked"])?;
    let mut wrong = wrong_edges(&metadata);
    wrong.extend(clients_under_core(&metadata));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn wrong_edges(metadata: &Value) -> Vec<String> {
    let members: BTreeSet<&str> = list(&metadata["workspace_members"]).filter_map(Value::as_str).collect();
    let packages =
        || list(&metadata["packages"]).filter(|p| p["id"].as_str().is_some_and(|id| members.contains(id)));
    let names: BTreeSet<&str> = packages().filter_map(|package| package["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages() {
        let Some(from) = package["name"].as_str() else { continue };
        for dependency in list(&package["dependencies"]) {
            let Some(to) = dependency["name"].as_str().filter(|to| names.contains(to)) else { continue };
            let kind = dependency["kind"].as_str();
            if let Some(why) = objection(from, to, kind == Some("dev")) {
                let section = kind.map_or("dependencies".to_owned(), |kind| format!("{kind}-dependencies"));
                let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
                let manifest = manifest.strip_prefix(root()).unwrap_or(manifest).display();
                wrong.push(format!("{from} -> {to} is not allowed ({manifest}, [{section}]): {why}"));
            }
        }
    }
    wrong
}

/// The database clients that feature-core depends on, directly or not, with the way to each.
fn clients_under_core(metadata: &Value) -> Vec<String> {
    let name = |id: &str| {
        let package = list(&metadata["packages"]).find(|package| package["id"] == id);
        package.and_then(|package| package["name"].as_str()).unwrap_or_default().to_owned()
    };
    let nodes: HashMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let Some(core) = nodes.keys().find(|id| name(id) == "feature-core") else {
        return vec!["feature-core is not in the workspace".to_owned()];
    };
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::from([*core]);
    let mut open = vec![(*core, "feature-core".to_owned())];
    while let Some((id, way)) = open.pop() {
        for edge in nodes.get(id).map(|node| list(&node["deps"])).into_iter().flatten() {
            let built_in = list(&edge["dep_kinds"]).any(|kind| kind["kind"].is_null());
            let Some(to) = edge["pkg"].as_str().filter(|to| built_in && seen.insert(to)) else { continue };
            let way = format!("{way} -> {}", name(to));
            if DATABASE_CLIENTS.contains(&name(to).as_str()) {
                wrong.push(format!("{way} is not allowed: the core compiles without any database client"));
            }
            open.push((to, way));
        }
    }
    wrong
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rule() {
        const NORMAL: bool = false;
        const DEV: bool = true;
        for (from, to, dev) in [
            ("store-embedded", "feature-core", NORMAL),
            ("store-embedded", "store-testkit", DEV),
            ("store-testkit", "feature-core", NORMAL),
            ("store-unified", "store-testkit", DEV),
            ("feature-server", "store-unified", NORMAL),
            ("feature-server", "feature-ingest", NORMAL),
            ("feature-server", "store-embedded", DEV),
            ("feature-store", "store-redis", NORMAL),
            ("feature-store", "store-unified", NORMAL),
            ("feature-store", "store-testkit", DEV),
            ("feature-ingest", "feature-core", NORMAL),
            ("feature-ingest", "store-testkit", DEV),
            ("feature-ingest", "store-embedded", DEV),
            ("feature-ops", "feature-core", NORMAL),
            ("feature-ops", "store-embedded", DEV),
            ("feature-python", "feature-store", NORMAL),
            ("feature-python", "feature-ingest", NORMAL),
            ("feature-python", "feature-cli", NORMAL),
            ("feature-cli", "feature-store", NORMAL),
            ("feature-cli", "feature-server", NORMAL),
            ("fstore-tests", "feature-cli", DEV),
        ] {
            assert_eq!(objection(from, to, dev), None, "{from} -> {to}");
        }
        for (from, to, dev) in [
            ("feature-core", "store-testkit", DEV),
            ("feature-core", "store-embedded", NORMAL),
            ("store-redis", "store-embedded", NORMAL),
            ("store-redis", "store-embedded", DEV),
            ("store-redis", "store-testkit", NORMAL),
            ("store-unified", "store-redis", NORMAL),
            ("store-redis", "feature-store", DEV),
            ("store-testkit", "store-embedded", DEV),
            ("store-testkit", "feature-cli", DEV),
            ("feature-store", "feature-ingest", NORMAL),
            ("feature-store", "store-testkit", NORMAL),
            ("feature-ingest", "feature-store", NORMAL),
            ("feature-ingest", "store-embedded", NORMAL),
            ("feature-ops", "feature-store", NORMAL),
            ("feature-server", "store-redis", NORMAL),
            ("feature-server", "feature-store", NORMAL),
            ("feature-python", "store-redis", NORMAL),
            ("feature-cli", "store-testkit", NORMAL),
            ("xtask", "feature-core", NORMAL),
            ("feature-cli", "xtask", NORMAL),
            ("feature-cli", "fstore-tests", DEV),
        ] {
            assert!(objection(from, to, dev).is_some(), "{from} -> {to}");
        }
    }

    #[test]
    fn a_wrong_edge_is_reported_with_its_place() {
        let wrong = wrong_edges(&json!({
            "workspace_members": ["a", "b"],
            "packages": [
                {"id": "a", "name": "store-a", "manifest_path": root().join("crates/store-a/Cargo.toml"),
                 "dependencies": [{"name": "store-b", "kind": "dev"}, {"name": "serde", "kind": null}]},
                {"id": "b", "name": "store-b", "manifest_path": "", "dependencies": []},
            ],
        }));
        assert_eq!(wrong.len(), 1);
        assert!(
            wrong[0].starts_with(
                "store-a -> store-b is not allowed (crates/store-a/Cargo.toml, [dev-dependencies]): "
            ),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_database_client_under_the_core_is_found_however_deep() {
        let graph = |kind: Value| {
            json!({
                "packages": [
                    {"id": "1", "name": "feature-core"}, {"id": "2", "name": "cache"}, {"id": "3", "name": "redis"},
                ],
                "resolve": {"nodes": [
                    {"id": "1", "deps": [{"pkg": "2", "dep_kinds": [{"kind": kind}]}]},
                    {"id": "2", "deps": [{"pkg": "3", "dep_kinds": [{"kind": null}]}]},
                    {"id": "3", "deps": []},
                ]},
            })
        };
        let wrong = clients_under_core(&graph(Value::Null));
        assert!(wrong[0].starts_with("feature-core -> cache -> redis is not allowed"), "{wrong:?}");
        assert_eq!(clients_under_core(&graph(json!("dev"))), Vec::<String>::new());
    }
}
