//! The proof that the crates could be published as they are. Nothing here publishes anything.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::links;
use crate::process::{Result, cargo, find, metadata, output, root, run};

/// Finds changes that break who depends on a crate.
const SEMVER_CHECKS: (&str, &str) = ("cargo-semver-checks", "0.51.0");

/// Packages that hardly anybody depends on. What they depend on is mostly the same, and to compile that for each takes
/// a minute.
const PROGRAMS: [&str; 2] = ["feature-cli", "feature-server"];

/// The workspace's settings for building its dependencies, which a package does not have: with them it
/// takes what has been built already.
const PROFILE: &str =
    "[profile.dev]\ndebug = \"line-tables-only\"\n[profile.dev.package.\"*\"]\ndebug = false\n";

/// Checks that each package says what registries show, that its README stands alone, and that what would
/// be uploaded compiles by itself.
///
/// # Errors
/// Everything that a package lacks; what cargo reports.
pub(crate) fn check() -> Result<()> {
    let metadata = metadata(&["--locked", "--no-deps"])?;
    let mut wrong = Vec::new();
    for package in published(&metadata) {
        wrong.extend(lacks(package).into_iter().map(|what| format!("{}: {what}", name(package))));
        let folder = Path::new(package["manifest_path"].as_str().unwrap_or_default()).with_file_name("");
        if !folder.join("LICENSE").exists() {
            wrong.push(format!("{}: no LICENSE: link it to the one of the workspace", name(package)));
        }
        let readme = folder.join("README.md");
        let text = fs::read_to_string(&readme).unwrap_or_default();
        let readme = readme.strip_prefix(root()).unwrap_or(&readme).display();
        wrong.extend(links::needs_repository(&text).into_iter().map(|what| format!("{readme}: {what}")));
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n").into());
    }
    let mut package = cargo();
    // Changes that are not yet committed are part of what is checked.
    run(package.args(["package", "--quiet", "--locked", "--workspace", "--allow-dirty", "--no-verify"]))?;
    compile(&published(&metadata).collect::<Vec<_>>())
}

/// Compiles each package by itself, from what would be uploaded.
///
/// `cargo package` could do so, but takes what it has unpacked and compiled of the same version before,
/// since in a registry a version never changes: only on a fresh machine does it see a change.
fn compile(packages: &[&Value]) -> Result<()> {
    let target = root().join("target");
    let folder = target.join("package/unpacked");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let (mut members, mut patches) = (Vec::new(), String::new());
    for package in packages {
        let member = format!("{}-{}", name(package), package["version"].as_str().unwrap_or_default());
        // As new: the files in a package have an old time, and would be taken for compiled.
        let mut tar = Command::new("tar");
        let archive = target.join("package").join(format!("{member}.crate"));
        run(tar.arg("-xzmf").arg(archive).arg("-C").arg(&folder))?;
        patches.push_str(&format!("{} = {{ path = \"{member}\" }}\n", name(package)));
        members.push(member);
    }
    let workspace = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n");
    fs::write(folder.join("Cargo.toml"), workspace + "[patch.crates-io]\n" + &patches + PROFILE)?;
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let (programs, libraries): (Vec<&str>, Vec<&str>) =
        packages.iter().map(|package| name(package)).partition(|name| PROGRAMS.contains(name));
    let mut failed = Vec::new();
    // Libraries one by one: features that another crate asks for must not help.
    for group in libraries.into_iter().map(|name| vec![name]).chain([programs]) {
        let mut check = cargo();
        check.current_dir(&folder).env("CARGO_TARGET_DIR", &target).args(["check", "--quiet"]);
        if run(check.args(group.iter().flat_map(|name| ["--package", name]))).is_err() {
            failed.extend(group);
        }
    }
    let failed = failed.join(", ");
    if failed.is_empty() { Ok(()) } else { Err(format!("these packages do not compile: {failed}").into()) }
}

/// Checks that no crate breaks who depends on the last release, which is the newest tag `v…`. What cannot be
/// compared is said.
///
/// # Errors
/// Each such change; what git reports.
pub(crate) fn compare_with_release() -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname"]);
    let tags = output(&mut git)?;
    let Some(release) = tags.lines().next() else {
        println!("skipped: there is no release yet (no tag v…) to compare with");
        return Ok(());
    };
    let (tool, version) = SEMVER_CHECKS;
    let tools = root().join("target/tools");
    let installed = tools.join("bin").join(tool);
    let program = find(tool).or_else(|| {
        let mut install = cargo();
        install.args(["install", "--locked", "--version", version, tool, "--root"]).arg(&tools);
        (installed.is_file() || run(&mut install).is_ok()).then_some(installed)
    });
    let Some(program) = program else {
        println!("skipped: {tool} cannot be had here; {release} is not compared with");
        return Ok(());
    };
    let mut compare = Command::new(program);
    compare.current_dir(root()).args(["semver-checks", "--workspace", "--all-features", "--baseline-rev"]);
    run(compare.arg(release))
}

/// The packages that would be published.
fn published(metadata: &Value) -> impl Iterator<Item = &Value> {
    // `null` is any registry, an empty list none.
    metadata["packages"].as_array().into_iter().flatten().filter(|package| package["publish"].is_null())
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

/// What the manifest of a package lacks.
fn lacks(package: &Value) -> Vec<String> {
    let mut lacks = Vec::new();
    for field in ["description", "documentation", "license", "readme", "rust_version"] {
        if package[field].as_str().is_none_or(str::is_empty) {
            lacks.push(format!("no `{}` in its manifest", field.replace('_', "-")));
        }
    }
    for (field, most) in [("keywords", 5), ("categories", 5)] {
        let number = package[field].as_array().map_or(0, Vec::len);
        if !(1..=most).contains(&number) {
            lacks.push(format!("{number} `{field}` in its manifest; 1 to {most} are right"));
        }
    }
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    for dependency in dependencies.filter(|dependency| dependency["path"].is_string()) {
        if dependency["req"] == "*" {
            lacks.push(format!("the dependency {} has a path and no version", name(dependency)));
        }
    }
    lacks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_is_complete_or_says_what_it_lacks() {
        let mut package = json!({
            "name": "store-a", "publish": null, "description": "A store.", "documentation": "https://docs.rs/store-a",
            "license": "Apache-2.0", "readme": "README.md", "rust_version": "1.90", "keywords": ["a"],
            "categories": ["database"],
            "dependencies": [{"name": "feature-core", "path": "/x", "req": "^0.1.0"}, {"name": "serde", "req": "*"}],
        });
        assert_eq!(lacks(&package), Vec::<String>::new());
        package["keywords"] = json!([]);
        package["rust_version"] = Value::Null;
        package["dependencies"][0]["req"] = json!("*");
        assert_eq!(
            lacks(&package),
            [
                "no `rust-version` in its manifest",
                "0 `keywords` in its manifest; 1 to 5 are right",
                "the dependency feature-core has a path and no version",
            ]
        );
    }

    #[test]
    fn what_is_not_published_is_not_looked_at() {
        let metadata =
            json!({"packages": [{"name": "a", "publish": null}, {"name": "xtask", "publish": []}]});
        assert_eq!(published(&metadata).map(name).collect::<Vec<_>>(), ["a"]);
    }
}
