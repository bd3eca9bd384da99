//! The README's example, in a crate outside the workspace that names the one backend it needs.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "every function here is a test's"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use store_testkit::servers::Server;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const MANIFEST: &str = r#"
[package]
name = "outside"
edition = "2024"

[workspace]

[dependencies]
feature-store = { path = "FACADE", features = ["redis"] }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }

[profile.dev]
debug = false
"#;

/// What such a crate is told of the backends that it did not name.
const OTHERS: &str = r#"
fn main() {
    for (url, feature) in [("embedded:a.redb", "embedded"), ("aerospike://h/features", "aerospike")] {
        let error = feature_store::Connector::new().parse(url).unwrap_err();
        assert!(error.message().contains(&format!("add the feature `{feature}`")), "{error}");
    }
    let error = feature_store::Connector::new().parse("mongo://h").unwrap_err();
    assert!(error.message().contains("known are redis://localhost:6379"), "{error}");
}
"#;

/// The first Rust example of the README.
fn example() -> String {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("the README");
    let rest =
        readme.split_once("```rust").and_then(|(_, rest)| rest.split_once('\n')).expect("an example").1;
    rest.split_once("```").expect("its end").0.to_owned()
}

/// A file of the crate, written only when it changes, so that cargo need not compile it again.
fn write(file: PathBuf, text: &str) {
    if fs::read_to_string(&file).is_ok_and(|found| found == text) {
        return;
    }
    fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
    fs::write(file, text).expect("the file");
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(folder).args(arguments).env("CARGO_TARGET_DIR", folder.join("target"));
    command
}

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().expect("cargo runs")
}

fn succeeded(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test]
async fn the_example_of_the_readme_runs_with_the_one_backend_that_it_names() {
    let example = example();
    assert_eq!(example.lines().count(), 10, "ten lines:\n{example}");
    let server = Server::redis().await;
    // The address of a server may hold a password: it stays in the environment.
    let example = example.replace(r#""redis://localhost:6379""#, r#"&std::env::var("REDIS").unwrap()"#);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    let facade = Path::new(ROOT).join("crates/feature-store").canonicalize().expect("the facade");
    write(folder.join("Cargo.toml"), &MANIFEST.replace("FACADE", &facade.display().to_string()));
    write(folder.join("src/main.rs"), &example);
    write(folder.join("src/bin/others.rs"), OTHERS);
    // The versions that the workspace is tested with, which are here already.
    fs::copy(Path::new(ROOT).join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file");

    let tree = succeeded(&cargo(&folder, &["tree", "--edges", "normal", "--prefix", "none"]));
    let packages: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(packages.contains(&"store-redis"), "{tree}");
    for other in ["redb", "store-embedded", "aerospike", "store-aerospike", "store-unified"] {
        assert!(!packages.contains(&other), "{other} is compiled:\n{tree}");
    }
    succeeded(&cargo(&folder, &["build", "--quiet", "--bins"]));
    succeeded(&cargo(&folder, &["run", "--quiet", "--bin", "others"]));
    match &server {
        Ok(server) => {
            let mut run = command(&folder, &["run", "--quiet", "--bin", "outside"]);
            succeeded(&run.env("REDIS", server.url()).output().expect("cargo runs"));
        }
        Err(why) if std::env::var("FSTORE_REQUIRE").is_ok_and(|list| list.contains("redis")) => {
            panic!("{why}")
        }
        Err(why) => println!("the example was built and not run: {why}"),
    }
    drop(server);
    store_testkit::servers::stop_all().await;
}
