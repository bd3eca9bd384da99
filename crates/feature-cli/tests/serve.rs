//! `fstore serve` as a process: what it says, what it keeps, and how it ends.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use common::Shell;
use serde_json::{Value, json};

/// A server that runs, and the lines of its log.
struct Served {
    process: Child,
    log: std::io::Lines<BufReader<std::process::ChildStderr>>,
    address: String,
    admin: String,
}

impl Served {
    fn start(shell: &Shell, arguments: &str) -> Self {
        let server = Self::run(
            shell,
            &format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {arguments}"),
            "serving",
        );
        assert!(!server.address.is_empty());
        server
    }

    /// The same with other arguments, and what is said first.
    fn run(shell: &Shell, arguments: &str, says: &str) -> Self {
        let mut process = shell.command(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let line: Value = serde_json::from_str(&log.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["message"], says, "{line}");
        let address = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let (address, admin) = (address("listen"), address("admin"));
        Self { process, log, address, admin }
    }

    /// The status and body of an answer.
    fn ask(&self, head: &str, body: &str) -> (u16, String) {
        Self::ask_at(&self.address, head, body)
    }

    fn ask_at(address: &str, head: &str, body: &str) -> (u16, String) {
        let head = format!("{head} HTTP/1.1\r\ncontent-type: application/json");
        let (head, body) = Self::exchange(address, &head, body);
        (head[9..12].parse().unwrap(), body)
    }

    /// The head and the body of an answer.
    fn exchange(address: &str, head: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// Waits for a line of the log, and gives it.
    fn logged(&mut self, message: &str) -> Value {
        loop {
            let line: Value = serde_json::from_str(&self.log.next().unwrap().unwrap()).unwrap();
            if line["message"] == message {
                return line;
            }
        }
    }

    /// Stops it, and waits for its end.
    fn stop(mut self) {
        self.signal("-TERM");
        self.logged("stopped");
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Where a test has failed nobody else would.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const VIEWS: &str = "
feature_views:
  - { name: customers, entities: [customer_id], features: { orders: int64 } }
feature_services:
  - { name: all, features: ['customers:*'] }
";
const READ: &str = r#"{"service":"all","entities":{"customer_id":[7]}}"#;

#[test]
fn it_serves_a_store_without_a_settings_file_and_keeps_what_was_written() {
    let shell = Shell::new();
    shell.file("views.yaml", VIEWS);
    let server = Served::start(&shell, "--store embedded:s.redb --views views.yaml");
    let row = json!({ "rows": [{ "entity": { "customer_id": 7 }, "features": { "orders": 3 } }] });
    let (status, body) = server.ask("POST /v1/tenants/acme/views/customers/write", &row.to_string());
    assert_eq!(status, 200, "{body}");
    server.stop();
    let server = Served::start(&shell, "--store embedded:s.redb --views views.yaml");
    let (status, body) = server.ask("POST /v1/tenants/acme/read", READ);
    assert!(status == 200 && body.contains("\"values\":[3]"), "{body}");
    server.stop();
    // Views that the store has in itself do as well.
    shell.file("views.yaml", VIEWS.split("feature_services").next().unwrap());
    assert_eq!(shell.run("apply views.yaml --store embedded:s.redb").code, 0);
    let server = Served::start(&shell, "--store embedded:s.redb");
    let (status, body) = server.ask("GET /v1/views", "");
    assert!(status == 200 && body.contains("customers"), "{body}");
    server.stop();
}

#[test]
fn it_counts_the_connections_that_are_there() {
    let shell = Shell::new();
    shell.file("views.yaml", VIEWS);
    let server = Served::start(&shell, "--store embedded:s.redb --views views.yaml");
    let has = |number: usize| {
        let line = format!("\nfstore_http_connections {number}\n");
        let tries = (0..500).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            Served::ask_at(&server.admin, "GET /metrics", "").1
        });
        tries.into_iter().any(|metrics| metrics.contains(&line))
    };
    let connected: Vec<_> = (0..3).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    assert!(has(3));
    drop(connected);
    assert!(has(0));
    server.stop();
}

#[test]
fn its_metrics_are_those_of_the_reference() {
    let page = include_str!("../../../docs/reference/metrics.md");
    let shell = Shell::new();
    shell.file("views.yaml", VIEWS);
    let server = Served::start(&shell, "--store embedded:s.redb --views views.yaml");
    server.ask("POST /v1/tenants/acme/read", READ);
    server.ask("POST /v1/tenants/acme/read", "{");
    let (_, shown) = Served::ask_at(&server.admin, "GET /metrics", "");
    server.stop();
    let mut types = 0;
    for declared in shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = declared.split_once(' ').unwrap();
        let row = page.lines().find(|row| row.starts_with(&format!("| `{name}` | {kind} |")));
        let labels =
            row.unwrap_or_else(|| panic!("no {declared}")).split(" | ").nth(2).unwrap().replace('`', "");
        // Of a histogram, those that have no bucket besides.
        let of = [format!("{name}{{"), format!("{name}_sum{{")];
        for sample in shown.lines().filter(|line| of.iter().any(|of| line.starts_with(of))) {
            let own = sample.split("=\"").filter_map(|part| part.rsplit(['{', ',']).next());
            let own: Vec<_> = own.filter(|part| !part.contains('"')).collect();
            assert_eq!(own.join(" "), labels.trim(), "{sample}");
        }
        types += 1;
    }
    assert!(types > 8, "{shown}");
}

#[test]
fn it_says_whether_a_server_is_alive() {
    let shell = Shell::new();
    shell.file("views.yaml", VIEWS);
    let server = Served::start(&shell, "--store embedded:s.redb --views views.yaml");
    let admin = server.admin.clone();
    assert_eq!(shell.run(&format!("serve --check --admin {admin}")).code, 0);
    shell
        .file("s.yaml", format!("stores: {{ main: 'embedded::memory:' }}\nserver: {{ admin: '{admin}' }}\n"));
    assert_eq!(shell.run("serve --check --config s.yaml").code, 0);
    server.stop();
    let gone = shell.run("serve --check --config s.yaml");
    assert!(gone.code == 1 && gone.err.contains(&admin), "{}", gone.err);
    shell.file("s.yaml", "stores: { main: 'embedded::memory:' }\nserver: { admin: off }\n");
    let off = shell.run("serve --check --config s.yaml");
    assert!(off.code == 2 && off.err.contains("server.admin"), "{}", off.err);
}

#[test]
fn it_takes_new_settings_and_refuses_wrong_ones_while_it_serves() {
    let shell = Shell::new();
    let key: Value = shell.objects("key new --format ndjson").remove(0);
    let settings = |views: &str| {
        format!(
            "stores: {{ main: 'embedded:s.redb' }}\nserver:\n  auth:\n    keys:\n      - {{ name: k, sha256: {}, tenants: [acme], rights: [read] }}\n{views}",
            key["sha256"].as_str().unwrap()
        )
    };
    shell.file("s.yaml", settings(VIEWS));
    assert_eq!(shell.run("config check s.yaml").code, 0);
    let mut server = Served::start(&shell, "--config s.yaml");
    let views =
        || format!("GET /v1/views HTTP/1.1\r\nauthorization: Bearer {}\r\nx:", key["key"].as_str().unwrap());
    assert_eq!(server.ask("GET /v1/views", "").0, 401);
    assert_eq!(server.ask(&views(), "").0, 200);

    shell.file("s.yaml", settings(&VIEWS.replace("orders: int64", "orders: int64, country: string")));
    server.signal("-HUP");
    server.logged("the settings were read again");
    assert!(server.ask(&views(), "").1.contains("country"));

    shell.file("s.yaml", settings("colour: blue\n"));
    server.signal("-HUP");
    server.logged("the settings cannot be read; nothing has changed");
    assert!(server.ask(&views(), "").1.contains("country"));

    // A change is noticed without a signal too, and a mistake is said once.
    shell.file("s.yaml", settings(&VIEWS.replace("orders: int64", "orders: int64, since: timestamp")));
    server.logged("the settings were read again");
    assert!(server.ask(&views(), "").1.contains("since"));
    shell.file("s.yaml", settings("colour: green\n"));
    server.logged("the settings cannot be read; nothing has changed");
    shell.file("s.yaml", settings(VIEWS));
    server.logged("the settings were read again");
    assert!(!server.ask(&views(), "").1.contains("since"));
    server.stop();
}

#[test]
fn the_console_alone_lets_in_by_key_and_answers_nothing_else() {
    let shell = Shell::new();
    let key: Value = shell.objects("key new --format ndjson").remove(0);
    // Other processes have these ports.
    let settings = format!(
        "stores: {{ main: 'embedded:s.redb' }}\nserver:\n  listen: 127.0.0.1:1\n  admin: 127.0.0.1:2\n  auth:\n    keys:\n      \
         - {{ name: k, sha256: {}, tenants: [acme], rights: [read] }}\n{VIEWS}",
        key["sha256"].as_str().unwrap()
    );
    shell.file("s.yaml", settings);
    let console = Served::run(
        &shell,
        "console --listen 127.0.0.1:0 --config s.yaml",
        "showing the console, at /console",
    );
    // What was loaded is shown on.
    shell.file("s.yaml", "colour: blue");
    let views = "GET /console/views HTTP/1.1";
    let (head, body) = Served::exchange(&console.admin, views, "");
    assert!(head.starts_with("HTTP/1.1 303") && head.contains("location: /console/sign-in"), "{head}");
    assert!(!body.contains("customers"));
    let sign_in = |key: &str| {
        let head = "POST /console/sign-in HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded";
        Served::exchange(&console.admin, head, &format!("key={key}")).0
    };
    let refused = sign_in("wrong");
    assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains("set-cookie"), "{refused}");
    let let_in = sign_in(key["key"].as_str().unwrap());
    let cookie = let_in.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let signed_in = |path: &str| {
        let cookie = cookie.split(';').next().unwrap();
        Served::exchange(&console.admin, &format!("GET {path} HTTP/1.1\r\ncookie: {cookie}"), "")
    };
    let (head, body) = signed_in("/console/views");
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("customers"), "{head}");
    assert!(signed_in("/console/live").1.contains("is a console alone"));
    assert_eq!(Served::ask_at(&console.admin, "GET /readyz", ""), (200, "ok\n".to_owned()));
    assert_eq!(Served::ask_at(&console.admin, "POST /v1/tenants/acme/read", READ).0, 404);
    assert!(signed_in("/console/settings").1.contains("cannot be used as they are now"));
    console.stop();

    let open = shell.run("console --listen 0.0.0.0:0 --config s.yaml");
    assert!(open.code == 2 && open.err.contains("on this machine alone"), "{}", open.err);
}

#[test]
fn it_refuses_to_be_open_to_everybody() {
    let shell = Shell::new();
    let said = shell.run("serve --store embedded:s.redb --listen 0.0.0.0:0 --admin 127.0.0.1:0");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(
        said.err.contains("without `auth` anybody who reaches 0.0.0.0:0 could read and write"),
        "{}",
        said.err
    );
}
