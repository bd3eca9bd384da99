//! `fstore` as a user or a script runs it.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use common::{Said, Shell, VIEWS};

#[test]
fn the_demo_tells_its_story() {
    let shell = Shell::new();
    let said = shell.run("demo");
    assert_eq!(said.code, 0, "{}", said.err);
    for line in [
        "flights.parquet  511 rows read, 508 written, 3 rejected: 20 aircraft",
        "dest=BOS dep_delay=99 at 2013-06-01T12:00:00Z: superseded",
        "N619AA is unchanged",
        "delay_reason            not_found",
        "a microsecond later                        (no record)",
    ] {
        assert!(said.out.contains(line), "{line}\n{}", said.out);
    }
    assert_eq!(fs::read_dir(shell.0.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn the_first_steps_of_the_manual_work() {
    let shell = Shell::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["views.yaml", "flights.parquet", "planes.csv"] {
        shell.file(name, fs::read(folder.join("demo").join(name)).unwrap());
    }
    let manual = fs::read_to_string(folder.join("README.md")).unwrap();
    let steps = manual.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(steps.lines().count(), 4);
    for step in steps.lines() {
        let said = shell.run(step.strip_prefix("fstore ").unwrap());
        let expected = if step.contains("flights") { 3 } else { 0 };
        assert_eq!(said.code, expected, "{step}: {}", said.err);
        if step.contains(" get ") {
            assert_eq!(said.objects()[0]["features"], json!({"dest": "MIA", "dep_delay": 4.0}));
        }
    }
}

#[test]
fn what_is_put_is_got_in_every_format() {
    let shell = Shell::new();
    let put =
        "put --tenant t --view v id=1 visits=3 score=0.5 name=Ada gone=null --timestamp 2020-01-01T00:00:00Z";
    assert_eq!(shell.objects(put), [json!({"entity": "id=1", "outcome": "applied"})]);
    assert_eq!(shell.objects(put)[0]["outcome"], "applied", "a repetition is a tie");
    let late = "put --tenant t --view v id=1 visits=2 --timestamp 2019-01-01T00:00:00Z";
    assert_eq!(shell.objects(late)[0]["outcome"], "superseded");

    let get = "get --tenant t --view v id=1 id=2";
    let one = json!({
        "entity": {"id": "1"},
        "found": true,
        "timestamp": "2020-01-01T00:00:00Z",
        "expires_at": null,
        "features": {"visits": 3, "score": 0.5, "name": "Ada", "gone": null},
        "status": {"visits": "present", "score": "present", "name": "present", "gone": "null"},
    });
    let rows = shell.objects(get);
    assert_eq!(rows[0], one);
    assert_eq!((&rows[1]["found"], &rows[1]["features"]), (&json!(false), &json!({})));
    let document: Value = serde_json::from_str(&shell.run(&format!("{get} --format json")).out).unwrap();
    assert_eq!(document, json!(rows));
    let old = shell.objects("get --tenant t --view v --max-age 1d --features visits,other id=1").remove(0);
    assert_eq!(old["status"], json!({"visits": "outside_max_age", "other": "not_found"}));
    assert_eq!(old["features"]["visits"], Value::Null, "what is too old is not served");
    let csv = "entity,timestamp,gone,name,score,visits\nid=1,2020-01-01T00:00:00Z,,Ada,0.5,3\nid=2,,,,,\n";
    assert_eq!(shell.run(&format!("{get} --format csv")).out, csv);
    let table = shell.run(&format!("{get} --format table --features visits,gone,other")).out;
    for cell in ["┆ visits ┆ gone ┆ other", "┆ 3      ┆ null ┆ -", "(no record)"] {
        assert!(table.contains(cell), "{cell}\n{table}");
    }
}

#[test]
fn exit_codes_tell_found_from_not_found_and_wrong_from_failed() {
    let shell = Shell::new();
    let said = shell.run("get --tenant t --view v id=1");
    assert_eq!(said.code, 1, "no store: {}", said.err);
    assert!(said.err.contains("there is no store at features.redb"), "{}", said.err);
    assert!(!shell.path("features.redb").exists());

    shell.objects("put --tenant t --view v id=1 a=1");
    assert_eq!(shell.run("get --tenant t --view v id=2 id=3").code, 4);
    assert_eq!(shell.run("get --tenant t --view v id=2 id=1").code, 0);
    for wrong in [
        "get --tenant t --view v nonsense",
        "get --tenant t id=1",
        "put --tenant t --view v id=1",
        "put --tenant t --view v id=1 a",
        "scan --tenant __fstore__",
        "get --tenant t --view v id=1 --max-age soon",
    ] {
        let said = shell.run(wrong);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{wrong}: {}", said.err);
    }
    shell.file("features.redb", "this is no store");
    assert_eq!(shell.run("get --tenant t --view v id=1").code, 1);
}

#[test]
fn a_wrong_store_url_is_explained_and_secrets_are_not_shown() {
    let shell = Shell::new();
    for (url, hint) in [
        (
            "mongo://app:hunter2@db/x?token=hunter2",
            "unknown store scheme `mongo`; known are embedded:features.redb",
        ),
        ("features.redb", "for a file say embedded:features.redb"),
        ("embedded:a.redb?password=hunter2", "unknown parameter `password`"),
        ("embedded://app:hunter2@db/x", "names a host"),
    ] {
        for said in [
            shell.run(&format!("check --store {url}")),
            Said::from(shell.command("check").env("FSTORE_URL", url).output().unwrap()),
        ] {
            assert_eq!(said.code, 2);
            assert!(said.err.contains(hint), "{}", said.err);
            assert!(!said.err.contains("hunter2"), "{}", said.err);
        }
        let help = Said::from(shell.command("--help").env("FSTORE_URL", url).output().unwrap());
        assert!(help.out.contains("Exit codes:") && !help.out.contains("hunter2"), "{}", help.out);
    }
}

#[test]
fn views_are_applied_and_guard_writes_and_changes() {
    let shell = Shell::new();
    shell.file("views.yaml", VIEWS);
    assert_eq!(shell.objects("apply views.yaml"), [json!({"view": "customers", "outcome": "added"})]);
    assert_eq!(shell.objects("apply views.yaml")[0]["outcome"], "unchanged");

    // Values are of the declared types, and what does not fit is refused, by name.
    shell.objects("put --tenant t --view customers id=1 visits=3 score=0.1 country=null");
    let row = shell.objects("get --tenant t --view customers id=1").remove(0);
    assert_eq!(row["features"], json!({"visits": 3, "score": 0.1, "country": null}));
    assert_ne!(row["expires_at"], Value::Null, "the view's TTL holds");
    let said = shell.run("put --tenant t --view customers id=1 visits=many");
    assert!(said.code == 2 && said.err.contains("feature `visits` of view `customers`"), "{}", said.err);
    let said = shell.run("put --tenant t --view customers id=1 visit=3");
    assert!(said.code == 1 && said.err.contains("`visit` is not a feature of it"), "{}", said.err);

    shell.file("views.yaml", VIEWS.replace("country: string", "country: string, new: bool"));
    assert_eq!(shell.objects("apply views.yaml")[0]["outcome"], "changed");
    shell.file(
        "views.yaml",
        VIEWS.replace("country: string", "country: string, new: bool").replace("float32", "float64"),
    );
    assert_eq!(
        shell.objects("apply views.yaml")[0]["outcome"],
        "changed",
        "a wider type is no contradiction"
    );
    shell.file("views.yaml", VIEWS.replace("score: float32", "score: int64"));
    let said = shell.run("apply views.yaml");
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("`new` would be removed; `score` was float64, and would be int64"),
        "{}",
        said.err
    );
    assert_eq!(shell.objects("views")[0]["features"], 4, "nothing was applied");
    assert_eq!(shell.objects("apply views.yaml --force")[0]["outcome"], "changed");

    let details = shell.objects("views customers");
    assert!(
        details.contains(&json!({"view": "customers", "name": "score", "type": "int64", "role": "feature"}))
    );
    assert!(shell.run("views other").err.contains("declared are customers"));
    assert_eq!(shell.objects("stats").len(), 1, "the catalog is hidden");
}

#[test]
fn replace_retract_delete_and_purge() {
    let shell = Shell::new();
    for (view, id) in [("v", 1), ("v", 2), ("vv", 1), ("v", 3)] {
        shell.objects(&format!("put --tenant t --view {view} id={id} a=1 b=2"));
    }
    shell.objects("put --tenant t --view v id=1 a=5 --replace");
    assert_eq!(shell.objects("get --tenant t --view v id=1")[0]["features"], json!({"a": 5}));
    shell.objects("put --tenant t --view v id=2 --retract");
    assert_eq!(shell.run("get --tenant t --view v id=2").code, 4);
    assert_eq!(
        shell.objects("delete --tenant t --view v id=1 id=9"),
        [json!({"entity": "id=1", "deleted": true}), json!({"entity": "id=9", "deleted": false})]
    );
    let said = shell.run("purge --tenant t --view v");
    assert!(said.code == 2 && said.err.contains("--yes"), "{}", said.err);
    assert_eq!(shell.objects("purge --tenant t --view v --yes"), [json!({"removed": 2})]);
    assert_eq!(shell.objects("stats --tenant t")[0]["view"], "vv");
}

#[test]
fn keys_come_from_standard_input() {
    let shell = Shell::new();
    shell.objects("put --tenant t --view v id=1 a=1");
    let mut child = shell
        .command("get --tenant t --view v - --format csv")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"id=2\n\nid=1\n").unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    let entities: Vec<_> = said.out.lines().filter_map(|line| line.split(',').next()).collect();
    assert_eq!(entities, ["entity", "id=2", "id=1"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let shell = Shell::new();
    let mut rows = "id,text\n".to_owned();
    (0..4000).for_each(|id| rows.push_str(&format!("{id},{:100}\n", "x")));
    shell.file("rows.csv", rows);
    shell.objects("ingest rows.csv --tenant t --view v --entity id");
    let mut child = shell
        .command("scan --tenant t --view v")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
    assert_eq!(shell.objects("scan --tenant t --view v --limit 3").len(), 3);
    let csv = shell.run("scan --tenant t --format csv").out;
    assert!(csv.starts_with("view,entity,timestamp,text\n") && csv.lines().count() == 4001);
}

#[test]
fn the_operators_commands() {
    let shell = Shell::new();
    shell.objects("put --tenant t --view v id=1 a=1 b=2");
    let stats = shell.objects("stats").remove(0);
    assert_eq!((&stats["records"], &stats["features"], &stats["expired"]), (&json!(1), &json!(2), &json!(0)));
    assert!(shell.objects("check").contains(&json!({"name": "backend", "value": "embedded"})));
    assert!(shell.objects("compact")[0]["after_bytes"].as_u64() > Some(0));
    assert_eq!(shell.objects("get --tenant t --view v id=1")[0]["found"], true);
    assert!(shell.run("completions bash").out.contains("_fstore"));
    assert!(shell.run("stats --format table").out.contains("│ tenant ┆ view"));
}
