//! What is in `deploy/` fits together: ports, and how long a server is given to stop.
#![allow(clippy::expect_used, clippy::panic, reason = "every function here is a test's")]

mod program;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use feature_core::parse_duration;
use serde_json::{Value, json};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "deploy", name].iter().collect()
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn yaml(name: &str, text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The manifests, by kind.
fn manifest(kind: &str) -> Value {
    const NAME: &str = "kubernetes/fstore.yaml";
    let manifests: Vec<_> = text(NAME).split("\n---\n").map(|text| yaml(NAME, text)).collect();
    assert!(
        manifests
            .iter()
            .all(|found| found["apiVersion"].is_string() && found["metadata"]["name"] == "fstore")
    );
    manifests.into_iter().find(|found| found["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// How long requests in flight may take when a server stops, by the example of the settings.
fn drain() -> Duration {
    let settings = yaml("fstore.yaml", &text("fstore.yaml"));
    duration(&settings["server"]["timeouts"]["drain"])
}

fn duration(value: &Value) -> Duration {
    parse_duration(value.as_str().expect("a duration")).expect("a duration")
}

#[test]
fn the_settings_are_right() {
    let check = Command::new(program::fstore())
        .args(["config", "check"])
        .arg(file("fstore.yaml"))
        .env("REDIS_HOST", "localhost")
        .env("REDIS_PASSWORD", "secret")
        .env("FSTORE_KEY_SHA256", "0".repeat(64))
        .output()
        .expect("the program runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn kubernetes_gives_a_server_time_to_stop_and_asks_the_right_ports() {
    let pod = &manifest("Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().map(Duration::from_secs).expect("a number");
    let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().map(Duration::from_secs);
    assert!(grace > pause.expect("a number") + drain());
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);

    let ports =
        json!([{ "name": "data", "containerPort": 6566 }, { "name": "admin", "containerPort": 6567 }]);
    assert_eq!(container["ports"], ports);
    for (probe, path) in
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "admin" }), "{probe}");
    }
    assert_eq!(manifest("Service")["spec"]["ports"][0]["targetPort"], "data");
    let labels = &manifest("Deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&manifest("Service")["spec"]["selector"], labels);
    assert_eq!(&manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels);
}

#[test]
fn compose_and_systemd_give_a_server_time_to_stop() {
    let compose = yaml("compose.yaml", &text("compose/compose.yaml"));
    let server = &compose["services"]["fstore"];
    assert!(duration(&server["stop_grace_period"]) > drain());
    assert_eq!(server["read_only"], true);
    for variable in
        text("compose/env.example").lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name)
    {
        assert!(server["environment"][variable].is_string(), "{variable}");
    }
    let unit = text("systemd/fstore.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("a limit");
    assert!(parse_duration(stop).expect("a duration") > drain());
}
