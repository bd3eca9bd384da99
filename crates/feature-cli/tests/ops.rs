//! `fstore inspect`, `export`, `import`, `diff` and `forget`.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Shell, VIEWS};
use serde_json::{Value, json};

fn filled() -> Shell {
    let shell = Shell::new();
    shell.file("views.yaml", VIEWS).objects("apply views.yaml");
    let rows: String = (0..2_500).map(|id| format!("{id},{id},0.5,DE\n")).collect();
    shell.file("rows.csv", format!("id,visits,score,country\n{rows}"));
    shell.objects("ingest rows.csv --tenant t --view customers");
    shell.objects("put --tenant t --view customers id=7 visits=8 --timestamp 2020-01-01T00:00:00Z");
    shell.objects("put --tenant other --view customers id=7 visits=8");
    shell
}

#[test]
fn a_store_comes_back_from_its_export_with_its_views() {
    let shell = filled();
    let all = shell.objects("export --to all --part-records 1000").remove(0);
    assert_eq!((&all["records"], &all["files"]), (&json!(2_502), &json!(3)), "the view is a record, too");
    let done = shell.objects("import all --store embedded:b.redb").remove(0);
    assert_eq!((&done["applied"], &done["failed"]), (&json!(2_502), &json!(0)));
    let diff = shell.objects("diff embedded:features.redb embedded:b.redb").remove(0);
    assert_eq!((&diff["equal"], &diff["records_a"]), (&json!(true), &json!(2_502)));
    assert_eq!(shell.objects("views --store embedded:b.redb"), shell.objects("views"));
    let again = shell.objects("import all --store embedded:b.redb").remove(0);
    assert_eq!((&again["applied"], &again["superseded"]), (&json!(0), &json!(2_502)));

    shell.objects("put --store embedded:b.redb --tenant t --view customers id=1 visits=100");
    shell.objects("delete --store embedded:b.redb --tenant t --view customers id=2");
    let differ = shell.run("diff all embedded:b.redb");
    assert_eq!(differ.code, 3);
    let counts = differ.objects().remove(0);
    assert_eq!(
        (&counts["only_a"], &counts["only_b"], &counts["differing"]),
        (&json!(1), &json!(0), &json!(1))
    );
    assert!(differ.err.contains("t:customers:id=1: B is newer"), "{}", differ.err);
    assert!(differ.err.contains("t:customers:id=2: only A has it"), "{}", differ.err);
    shell.objects("import all --store embedded:b.redb");
    let got = shell.objects("get --store embedded:b.redb --tenant t --view customers id=1 id=2");
    let visits: Vec<&Value> = got.iter().map(|row| &row["features"]["visits"]).collect();
    assert_eq!(visits, [&json!(100), &json!(2)], "what is newer stays, what is missing comes back");
}

#[test]
fn a_part_of_a_store_goes_through_a_pipe_as_lines_for_readers() {
    let shell = filled();
    let lines = shell.run("export --to - --tenant other");
    assert!(lines.code == 0 && lines.err.contains("1 records"), "{}", lines.err);
    let line = lines.objects().remove(0);
    assert_eq!((&line["tenant"], &line["entity"]), (&json!("other"), &json!({"id": "7"})));
    assert_eq!((&line["features"], &line["floor"]), (&json!({"visits": 8}), &Value::Null));
    assert!(line["expires_at"].is_string(), "the view's ttl holds");
    shell.file("other.ndjson", &lines.out);
    let done = shell.objects("import other.ndjson --store embedded:b.redb").remove(0);
    assert_eq!(done["applied"], 1);
    let none = shell.objects("import other.ndjson --store embedded:c.redb --tenant nobody").remove(0);
    assert_eq!((&none["passed_over"], &none["applied"]), (&json!(1), &json!(0)));
    let wrong = shell.run("import rows.csv");
    assert!(wrong.code == 2 && wrong.err.contains("neither a folder nor named"), "{}", wrong.err);
    assert_eq!(shell.run("export --to x --view customers").code, 2, "a view is of a tenant");
}

#[test]
fn an_export_that_is_killed_goes_on() {
    let shell = filled();
    let whole = shell.objects("export --to whole --as ndjson").remove(0);
    assert_eq!(whole["records"], 2_502);
    let export = "export --to parts --as ndjson --part-records 50";
    let parts = || -> usize {
        let text = fs::read_to_string(shell.path("parts/_export.json")).unwrap_or_default();
        serde_json::from_str(&text).map_or(0, |manifest: Value| manifest["parts"].as_array().unwrap().len())
    };
    let mut known = 0;
    for _ in 0..10 {
        let mut child = shell.command(export).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while parts() < known + 4 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(parts() > known || known >= 51, "{known} parts stay, and more come");
        known = parts();
    }
    // The last may have come to its end before it was killed.
    let ended = shell.run(export);
    assert!(ended.code == 0 || ended.err.contains("whole export"), "{}", ended.err);
    let diff = shell.objects("diff parts whole").remove(0);
    assert_eq!((&diff["equal"], &diff["records_a"]), (&json!(true), &json!(2_502)));
}

#[test]
fn a_record_is_shown_in_each_store_and_forgotten_in_all() {
    let shell = Shell::new();
    shell.file(
        "settings.yaml",
        "stores: {main: 'embedded:main.redb', copy: 'embedded:copy.redb', spare: 'embedded:spare.redb'}\n\
         default: {store: main, mirror: {store: copy, required: true}}\n",
    );
    let put = |view: &str, entity: &str| {
        let command = format!("put --config settings.yaml --tenant t --view {view} {entity} visits=3");
        shell.objects(&command);
    };
    put("customers", "id=1");
    put("visits", "id=1|day=2");
    put("customers", "id=2");
    let shown = shell.objects("inspect --config settings.yaml --tenant t --view customers id=1");
    let found: Vec<_> = shown.iter().map(|row| (row["store"].as_str().unwrap(), &row["found"])).collect();
    assert_eq!(found, [("main", &json!(true)), ("copy", &json!(true)), ("spare", &json!(false))]);
    assert_eq!(shown[0]["key"], "t:customers:id=1");
    assert_eq!((&shown[0]["format"], &shown[0]["bytes"]), (&json!(1), &shown[1]["bytes"]));
    assert_eq!(shown[0]["features"]["visits"]["type"], "int64");
    assert_eq!(shell.run("inspect --config settings.yaml --tenant t --view customers id=9").code, 4);

    let forget = "forget --config settings.yaml --tenant t id=1";
    let unsure = shell.run(forget);
    assert!(unsure.code == 2 && unsure.err.contains("say --yes"), "{}", unsure.err);
    let listed = shell.run(&format!("{forget} --dry-run"));
    assert_eq!((listed.code, listed.objects().len()), (0, 4), "{}", listed.err);
    assert!(listed.objects().iter().all(|row| row["removed"] == false));
    let gone = shell.run(&format!("{forget} --yes"));
    assert_eq!((gone.code, gone.objects().len()), (0, 4), "{}", gone.err);
    assert!(gone.err.contains("none is left"), "{}", gone.err);
    for name in ["main", "copy", "spare"] {
        shell.objects(&format!("export --store embedded:{name}.redb --to {name}.ndjson"));
        assert!(!fs::read_to_string(shell.path(&format!("{name}.ndjson"))).unwrap().contains("id\":\"1"));
    }
    let left = shell.objects("scan --config settings.yaml --tenant t");
    assert_eq!((left.len(), &left[0]["entity"]), (1, &json!({"id": "2"})));
    let diff = shell.objects("diff --config settings.yaml main copy").remove(0);
    assert_eq!((&diff["equal"], &diff["records_a"]), (&json!(true), &json!(1)));
}
