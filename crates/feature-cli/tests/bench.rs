//! `fstore bench` as a process, on an embedded store and on a server.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use common::Shell;
use serde_json::Value;

const SETTINGS: &str = "
stores: { main: 'embedded:main.redb' }
feature_views:
  - { name: customers, entities: [customer_id], features: { visits: int64, score: float32, country: string }, ttl: 7d }
  - { name: visits, entities: [customer_id, shop], features: { last: timestamp } }
";

/// As short as it may be; what calls there are is by the rate alone.
const SHORT: &str = "--duration 400ms --warm-up 100ms --rate 200 --format json";

fn shell() -> Shell {
    let shell = Shell::new();
    shell.file("settings.yaml", SETTINGS);
    shell
}

fn result(shell: &Shell, arguments: &str) -> Value {
    let said = shell.run(arguments);
    assert_eq!(said.code, 0, "{arguments}: {}{}", said.out, said.err);
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn a_load_on_a_store_is_measured_and_drawn() {
    let shell = shell();
    let bench = format!("bench --config settings.yaml --tenant load --view customers --view visits {SHORT}");
    let filled = shell
        .run(&format!("{bench} --entities 300 --fill --batch 20 --distribution zipf:1.1 --plot load.svg"));
    assert!(filled.err.contains("made-up values are written to tenant `load`"), "{}", filled.err);
    let filled: Value = serde_json::from_str(&filled.out).unwrap();
    let read = &filled["operations"]["read"];
    let calls = read["calls"].as_u64().unwrap();
    // What was due in 400 ms, but for what a busy machine had no time for.
    assert_eq!(calls + filled["not_begun"].as_u64().unwrap(), 80, "{filled}");
    assert_eq!((&read["failed"], &read["rows"]), (&0.into(), &(calls * 40).into()));
    assert_eq!(read["found"], read["rows"], "everything was filled");
    for times in [&read["service_ms"], &read["response_ms"]] {
        assert!(times["p50"].as_f64() <= times["max"].as_f64(), "{times}");
    }
    assert!(read["service_ms"]["max"].as_f64() <= read["response_ms"]["max"].as_f64());
    let seconds = filled["per_second"].as_array().unwrap();
    assert_eq!(seconds.iter().map(|second| second["calls"].as_u64().unwrap()).sum::<u64>(), calls);
    let drawing = std::fs::read_to_string(shell.path("load.svg")).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("latency by quantile"), "{drawing}");
    let records = shell.objects("stats --config settings.yaml --tenant load");
    assert_eq!(records.iter().map(|view| view["records"].as_u64().unwrap()).sum::<u64>(), 600);
}

#[test]
fn nothing_is_written_unless_that_is_asked_for() {
    let shell = shell();
    let bench = format!("bench --config settings.yaml --tenant load --view customers --entities 50 {SHORT}");
    let reads = result(&shell, &bench);
    assert_eq!(reads["operations"]["read"]["found"], 0);
    assert!(reads["operations"]["write"].is_null());
    assert_eq!(shell.objects("stats --config settings.yaml"), Vec::<Value>::new());
    let both = result(&shell, &format!("{bench} --writes 0.5 --batch 5"));
    let writes = both["operations"]["write"]["rows"].as_u64().unwrap();
    assert!(writes > 0 && both["operations"]["read"]["rows"].as_u64().unwrap() > 0, "{both}");
    assert!(shell.objects("stats --config settings.yaml")[0]["records"].as_u64().unwrap() <= 50);
}

#[test]
fn a_load_that_cannot_be_is_refused_with_a_reason() {
    let shell = shell();
    shell.file("customers.txt", "customer_id=1\n\ncustomer_id=2\n");
    for (arguments, says) in [
        ("--view customers --entities 5", "--rate"),
        ("--view customers --rate 10", "--entities"),
        ("--view visits --entities-from customers.txt --rate 10", "whose join keys are customer_id, shop"),
        ("--view other --entities 5 --rate 10", "feature view `other` is not declared"),
        ("--view customers --entities 5 --rate 10 --distribution pareto", "expected uniform, zipf"),
        (
            "--view customers --view visits --features last --entities 5 --rate 10",
            "--features are those of one view",
        ),
        ("--server ftp://localhost --view customers --entities 5 --rate 10", "none of http or https"),
    ] {
        let said = shell.run(&format!("bench --config settings.yaml --tenant load {arguments}"));
        assert!(said.code == 2 && said.err.contains(says), "{arguments}: {} {}", said.code, said.err);
    }
}

/// A server that ends with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[test]
fn a_load_on_a_server_wants_its_key_and_is_what_a_load_on_a_store_is() {
    let shell = shell();
    let key = &shell.objects("key new")[0];
    let (key, hash) = (key["key"].as_str().unwrap(), key["sha256"].as_str().unwrap());
    let auth = format!("keys: [{{ name: load, sha256: {hash}, tenants: [load], rights: [read, write] }}]");
    shell.file(
        "settings.yaml",
        format!("{SETTINGS}server: {{ listen: '127.0.0.1:0', auth: {{ {auth} }} }}\n"),
    );
    let mut server = shell.command("serve --config settings.yaml").stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let server = Served(server);
    let line: Value = serde_json::from_str(&log.next().unwrap().unwrap()).unwrap();
    let address = line["listen"].as_str().unwrap();
    let bench =
        format!("bench --server http://{address} --tenant load --view customers --view visits {SHORT}");
    let bench = format!("{bench} --entities 40 --batch 5 --writes 0.3 --fill");
    let mut command = shell.command(&bench);
    let said = common::Said::from(command.env("FSTORE_KEY", key).output().unwrap());
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let measured: Value = serde_json::from_str(&said.out).unwrap();
    for (operation, rows) in [("read", 10), ("write", 5)] {
        let operation = &measured["operations"][operation];
        let calls = operation["calls"].as_u64().unwrap();
        assert!(calls > 0, "{measured}");
        assert_eq!((&operation["failed"], &operation["rows"]), (&0.into(), &(calls * rows).into()));
    }
    let refused = shell.run(&bench.replace("--fill", ""));
    assert!(refused.code == 1 || refused.code == 3, "{}", refused.err);
    assert!(refused.err.contains("401"), "{}", refused.err);
    drop(server);
}
