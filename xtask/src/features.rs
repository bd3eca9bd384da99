//! What each cargo feature of the facade brings, and the proof that it brings no more.

use std::collections::BTreeSet;

use crate::edges::DATABASE_CLIENTS;
use crate::process::{Result, cargo, output, run};

const FACADE: &str = "feature-store";

/// Cargo features, and which backends and database clients a crate then compiles that depends on the facade
/// and does nothing about its defaults.
const COMBINATIONS: [(&str, &[&str]); 6] = [
    ("", &[]),
    ("embedded", &["redb", "store-embedded"]),
    ("redis", &["store-redis"]),
    ("aerospike", &["aerospike", "aerospike-core", "store-aerospike"]),
    ("unified", &["store-unified"]),
    ("redis,unified", &["store-redis", "store-unified"]),
];

/// Checks what each combination of features depends on, and that it compiles without a warning.
///
/// # Errors
/// Each combination that brings something else than it should, or does not compile.
pub(crate) fn check() -> Result<()> {
    let mut wrong = Vec::new();
    for (features, expected) in COMBINATIONS {
        let arguments = ["--locked", "--package", FACADE, "--features", features];
        let tree = ["--edges", "normal", "--prefix", "none", "--format", "{p}"];
        let tree = output(cargo().arg("tree").args(arguments).args(tree))?;
        let (found, expected) = (stores(&tree), expected.iter().copied().collect());
        if found != expected {
            wrong.push(format!("{FACADE} with `{features}` brings {found:?}, and should bring {expected:?}"));
        }
        if let Err(error) =
            run(cargo().args(["clippy", "--quiet"]).args(arguments).args(["--", "-D", "warnings"]))
        {
            wrong.push(format!("{FACADE} with `{features}`: {error}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The backends and database clients among the packages that `cargo tree` lists.
fn stores(tree: &str) -> BTreeSet<&str> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| name.starts_with("store-") || DATABASE_CLIENTS.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_their_clients_are_told_from_other_packages() {
        let tree = "feature-store v0.1.0 (/x)\nstore-redis v0.1.0 (/x)\nredis v1.8.1\ntokio v1.54.0\nredis v1.8.1 (*)\n";
        assert_eq!(stores(tree), BTreeSet::from(["redis", "store-redis"]));
    }
}
