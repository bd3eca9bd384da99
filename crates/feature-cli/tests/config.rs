//! `fstore --config`: the settings file as a user meets it.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::path::Path;

use serde_json::{Value, json};

use common::Shell;

const SETTINGS: &str = "\
stores:
  main: { url: 'embedded:main.redb' }
  bulk: embedded:bulk.redb
routes:
  - { tenant: acme, view: cust*, store: bulk }
default: { store: main }
feature_views:
  - name: customers
    entities: [id]
    features: {visits: int64, score: float32, country: string}
    ttl: 7d
  - { name: devices, entities: [device], features: {logins: int64, country: string} }
feature_services:
  - { name: fraud, features: ['devices:*', 'customers:visits', 'customers:country'] }
";

fn shell() -> Shell {
    let shell = Shell::new();
    shell.file("settings.yaml", SETTINGS);
    shell
}

#[test]
fn data_commands_work_through_the_routes_and_views_of_the_file() {
    let shell = shell();
    for put in ["acme --view customers id=1", "acme --view devices device=1", "other --view customers id=1"] {
        let put = format!("put --config settings.yaml --tenant {put}");
        let feature = if put.contains("devices") { "logins=3" } else { "visits=3" };
        assert_eq!(shell.objects(&format!("{put} {feature}"))[0]["outcome"], "applied");
    }
    let places = |command: &str| -> Vec<(Value, Value)> {
        let stats = shell.objects(command);
        stats.into_iter().map(|row| (row["tenant"].clone(), row["view"].clone())).collect()
    };
    let place = |tenant: &str, view: &str| (json!(tenant), json!(view));
    assert_eq!(places("stats --store embedded:bulk.redb"), [place("acme", "customers")]);
    assert_eq!(
        places("stats --store embedded:main.redb"),
        [place("acme", "devices"), place("other", "customers")]
    );
    assert_eq!(places("stats --config settings.yaml").len(), 3);

    let got = shell.objects("get --config settings.yaml --tenant acme --view customers id=1").remove(0);
    assert_eq!(got["features"]["visits"], 3);
    assert_ne!(got["expires_at"], Value::Null, "the view's ttl holds");
    let refused = shell.run("put --config settings.yaml --tenant acme --view customers id=1 visits=x");
    assert!(refused.code == 2 && refused.err.contains("expected int64"), "{}", refused.err);
    let unknown = shell.run("put --config settings.yaml --tenant acme --view customer id=1 visits=1");
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("not declared in settings.yaml; declared are customers, devices"));

    shell.file("more.csv", "id,visits,score,country\n1,5,,\n2,6,,\n");
    let ingest = "ingest more.csv --config settings.yaml --tenant acme --view customers";
    assert_eq!(shell.objects(ingest)[0]["written"], 2);
    assert_eq!(shell.objects("scan --config settings.yaml --tenant acme").len(), 3);
    let delete = "delete --config settings.yaml --tenant acme --view customers id=2";
    assert_eq!(shell.objects(delete)[0]["deleted"], true);
    let purged = shell.objects("purge --config settings.yaml --tenant acme --yes");
    assert_eq!(purged[0]["removed"], 2, "of both stores");
    assert_eq!(shell.objects("stats --config settings.yaml").len(), 1);
    let facts = shell.objects("check --records --config settings.yaml");
    assert!(facts.iter().any(|fact| fact["name"] == "records_read" && fact["value"] == 1), "{facts:?}");
}

#[test]
fn a_service_is_one_request_over_views_and_stores() {
    let shell = shell();
    for put in ["customers id=1 visits=3 country=null", "devices device=d logins=5"] {
        let time = "--timestamp 2020-01-01T00:00:00Z --ttl never";
        shell.objects(&format!("put --config settings.yaml --tenant acme {time} --view {put}"));
    }
    let get = "get --config settings.yaml --tenant acme --service fraud device=d|id=1 device=e|id=2";
    let rows = shell.objects(get);
    assert_eq!(
        rows[0],
        json!({
            "entity": {"device": "d", "id": "1"},
            "found": true,
            "features": {"logins": 5, "visits": 3, "customers__country": null},
            "status": {
                "devices__country": "not_found", "logins": "present", "visits": "present", "customers__country": "null",
            },
            "event_times": {
                "logins": "2020-01-01T00:00:00Z", "visits": "2020-01-01T00:00:00Z",
                "customers__country": "2020-01-01T00:00:00Z",
            },
            "from_fallback": [],
        })
    );
    assert_eq!((&rows[1]["found"], &rows[1]["features"]), (&json!(false), &json!({})));
    assert_eq!(rows[1]["status"]["visits"], "not_found");
    let csv = shell.run(&format!("{get} --format csv")).out;
    assert_eq!(
        csv,
        "entity,devices__country,logins,visits,customers__country\ndevice=d|id=1,,5,3,\ndevice=e|id=2,,,,\n"
    );
    let table = shell.run(&format!("{get} --format table")).out;
    assert!(table.contains("null") && table.contains(" - "), "{table}");
    let old = shell.objects(&format!("{get} --max-age 1d")).remove(0);
    assert_eq!(
        (&old["status"]["visits"], &old["features"]["visits"]),
        (&json!("outside_max_age"), &Value::Null)
    );

    assert_eq!(shell.run(&get.replace("|id=1 device=e|id=2", "")).code, 1, "a join key is missing");
    assert_eq!(shell.run("get --config settings.yaml --tenant t --service fraud device=x|id=9").code, 4);
    let unknown = shell.run(&get.replace("fraud", "frau"));
    assert!(unknown.code == 2 && unknown.err.contains("declared are fraud"), "{}", unknown.err);
    assert_eq!(shell.run("get --tenant t --service fraud id=9 --store embedded:main.redb").code, 2);
}

#[test]
fn the_views_are_those_of_the_file() {
    let shell = shell();
    let views = shell.objects("views --config settings.yaml");
    assert_eq!((views.len(), &views[0]["view"], &views[0]["ttl"]), (2, &json!("customers"), &json!("7d")));
    shell.file("views.yaml", common::VIEWS);
    let said = shell.run("apply views.yaml --config settings.yaml");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("declare them there, in settings.yaml"), "{}", said.err);
    assert_eq!(shell.run("compact --config settings.yaml").code, 2);
}

#[test]
fn check_finds_every_mistake_in_one_go() {
    let shell = shell();
    let good = shell.objects("config check settings.yaml");
    let kinds: Vec<_> = good.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["store", "store", "route", "default", "feature view", "feature view", "feature service"]
    );
    assert!(!Path::new(&shell.path("main.redb")).exists(), "it opens no store");

    let bad = "stores:\n  a: {url: 'redis://localhost?tls=1', hegde: {}}\n  b: 'mysql:x'\n  c: ${SECRET_URL}\n\
               default: {store: d}\n";
    shell.file("bad.yaml", bad);
    let said = shell.run("config check bad.yaml");
    assert_eq!(said.code, 2);
    for line in [
        "bad.yaml:2: stores.a.url: ",
        "bad.yaml:2: stores.a.hegde: unknown key",
        "bad.yaml:3: stores.b: unknown store scheme `mysql`; known are embedded:",
        "bad.yaml:4: stores.c: the environment variable `SECRET_URL` is not set",
        "bad.yaml:5: default.store: there is no store `d`; known are a, b, c",
        "5 mistakes in the settings file bad.yaml",
    ] {
        assert!(said.err.contains(line), "{line}\n{}", said.err);
    }
    assert_eq!(shell.run("get --config bad.yaml --tenant t --view v k=1").code, 2, "before any command");

    shell.file("bad.toml", "stores.a = 7\nroutes = 3\n");
    let said = shell.run("--config bad.toml config check");
    assert!(said.err.contains("bad.toml:1: stores.a: ") && said.err.contains("bad.toml:2: routes: "));
    assert_eq!(shell.run("config check").code, 2);
    assert_eq!(shell.run("config check absent.yaml").code, 2);
}

#[test]
fn the_environment_gives_secrets_and_the_file() {
    let shell = Shell::new();
    shell.file("settings.yaml", "stores:\n  main: embedded:${FSTORE_TEST_PLACE}.redb\n");
    let mut command = shell.command("put --tenant t --view v id=1 x=1");
    command.env("FSTORE_CONFIG", "settings.yaml").env("FSTORE_TEST_PLACE", "there");
    assert!(command.output().unwrap().status.success());
    assert!(shell.path("there.redb").exists());
    let mut other = shell.command("put --tenant t --view v id=1 x=1 --store embedded:other.redb");
    assert!(other.env("FSTORE_CONFIG", "settings.yaml").output().unwrap().status.success());
    assert!(shell.path("other.redb").exists(), "what is on the command line counts more");
    let mut both = shell.command("check");
    both.env("FSTORE_CONFIG", "settings.yaml").env("FSTORE_URL", "embedded:other.redb");
    assert_eq!(both.output().unwrap().status.code(), Some(2));
}

#[test]
fn a_dry_run_says_where_records_go() {
    let shell = Shell::new();
    let default = "default: { store: main, fallback: { store: bulk, after: 8ms }, mirror: { store: bulk } }";
    shell.file("settings.yaml", SETTINGS.replace("default: { store: main }", default));
    let route = |tenant: &str, view: &str| {
        let place = format!("config route --config settings.yaml --tenant {tenant} --view {view}");
        shell.objects(&place).remove(0)
    };
    let routed = route("acme", "customers");
    assert_eq!(
        (&routed["store"], &routed["rule"], &routed["line"]),
        (&json!("bulk"), &json!("acme:cust*"), &json!(5))
    );
    let routed = route("acme", "devices");
    assert_eq!(
        (&routed["store"], &routed["rule"], &routed["line"]),
        (&json!("main"), &json!("default"), &json!(6))
    );
    assert!(!shell.path("main.redb").exists(), "it opens no store");
}
