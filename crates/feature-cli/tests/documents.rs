//! The commands in the README and in `docs/` run, and print what is printed there, but for times and figures.
//!
//! Blocks in `sh` are lines for a shell; in `console` a line that begins with `$ ` is one, and its output follows.
//! All of a document run in one shell, in a folder of its own, with the stores of the examples as embedded ones.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

#[path = "documents/blocks.rs"]
mod blocks;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use blocks::{Given, blanked, commands, documents, settings_of};

/// What is not run here: a document, how the command begins, and why not.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("README.md", "cargo xtask test", "it is what runs this"),
    ("README.md", "cargo xtask bench", "takes long; `cargo xtask bench --check` runs weekly"),
    ("docs/aerospike.md", "asinfo ", "needs Aerospike's tools and a server"),
    ("docs/benchmarks.md", "cargo xtask bench", "takes long; `cargo xtask bench --check` runs weekly"),
    ("docs/from-feast.md", "python settings.py", "needs Feast; the test `feast` follows this page with it"),
    (
        "docs/from-feast.md",
        "fstore ingest driver_stats.parquet",
        "needs Feast's file; the test `feast` follows this page with it",
    ),
    ("docs/grpc.md", "grpcurl ", "needs grpcurl"),
    ("docs/grpc.md", "pip install", "needs the network"),
    ("docs/grpc.md", "python -m grpc_tools", "needs what the line before it installs"),
    (
        "docs/operations.md",
        "fstore bench",
        "a Redis that is stopped for a second; the test `bench` runs the command",
    ),
    ("docs/quickstart.md", "cargo install", "builds for minutes what this test has"),
    (
        "docs/streams.md",
        "redis-cli ",
        "needs a Redis on that port; the test `follow` does the same on one of its own",
    ),
    ("docs/streams.md", "fstore follow", "likewise"),
    ("docs/streams.md", "fstore get", "reads what `fstore follow` has written"),
];

/// The files that a document takes as given.
const FILES: &[(&str, &str, Given)] = &[
    (
        "README.md",
        "views.yaml",
        Given::Text(
            "feature_views: [{ name: aircraft, entities: [tailnum], features: { dep_delay: float64, origin: string } }]",
        ),
    ),
    ("README.md", "flights.parquet", Given::File("crates/feature-cli/demo/flights.parquet")),
    ("README.md", "fstore.yaml", Given::Settings("README.md")),
    ("docs/console.md", "fstore.yaml", Given::Settings("README.md")),
    ("docs/from-feast.md", "fstore.yaml", Given::Settings("README.md")),
    (
        "docs/migration.md",
        "fstore.yaml",
        Given::Text(
            "{ stores: { main: 'embedded:main.redb', bulk: 'embedded:bulk.redb' }, default: { store: main },
               migration: { refresh: 50ms, lease: 250ms } }",
        ),
    ),
    ("docs/operations.md", "settings.yaml", Given::Settings("docs/operations.md")),
    ("docs/serving.md", "views.yaml", Given::File("crates/feature-cli/demo/views.yaml")),
    ("docs/serving.md", "fstore.yaml", Given::Settings("README.md")),
    ("docs/settings.md", "settings.yaml", Given::Settings("docs/settings.md")),
    ("docs/streams.md", "settings.yaml", Given::Settings("docs/streams.md")),
];

/// What has been done when a command that begins so is given.
const BEFORE: &[(&str, &str, &str)] = &[
    (
        "README.md",
        "fstore --config fstore.yaml get",
        "fstore --config fstore.yaml put --tenant acme --view customers customer_id=7 orders=3",
    ),
    (
        "docs/settings.md",
        "fstore get",
        "fstore --config settings.yaml put --tenant acme --view customers customer_id=7 orders=3",
    ),
    (
        "docs/migration.md",
        "fstore --config fstore.yaml migrate start",
        "fstore --config fstore.yaml put --tenant acme --view trips trip_id=7 distance=3.5",
    ),
    (
        "docs/operations.md",
        "fstore inspect",
        "(echo customer_id,visits,score,country; for i in {1..2000}; do echo cust-$i,$i,0.5,DE; done) > customers.csv
         fstore ingest customers.csv --config settings.yaml --tenant acme --view customers --entity customer_id
         fstore put --config settings.yaml --tenant acme --view visits 'customer_id=cust-123|shop=berlin' last=2026-11-02",
    ),
    (
        "docs/operations.md",
        "fstore diff",
        "fstore put --store embedded:restored.redb --tenant acme --view customers customer_id=cust-5 visits=6
         fstore delete --store embedded:restored.redb --tenant acme --view customers customer_id=cust-6",
    ),
];

/// What stands for the databases and addresses of the examples.
const INSTEAD: &[(&str, &str)] = &[
    ("cargo run --release --bin fstore --", "fstore"),
    ("redis://:${REDIS_PASSWORD}@localhost:6379", "embedded:main.redb"),
    ("aerospike://localhost:3000/features", "embedded:bulk.redb"),
    ("redis://localhost:6379", "embedded:main.redb"),
    ("localhost:6566", "127.0.0.1:$DATA_PORT"),
];

/// The shell's beginning. A server listens on ports of its own, and is there when the next command begins; one in the
/// foreground goes on until another takes its place.
const PRELUDE: &str = r#"
exec 2>&1
server=
stop() { if [ -n "$server" ]; then kill "$server"; wait "$server"; server=; fi; }
trap 'stop; kill $(jobs -p) 2>/dev/null; wait' EXIT
fstore() {
    case " $* " in
        *" console "*) exec fstore "$@" --listen "127.0.0.1:$DATA_PORT" > server.log 2>&1 ;;
        *" serve "*) exec fstore "$@" --listen "127.0.0.1:$DATA_PORT" --admin "127.0.0.1:$ADMIN_PORT" > server.log 2>&1 ;;
        *) command fstore "$@" ;;
    esac
}
foreground() {
    stop
    "$@" &
    server=$!
    for _ in {1..600}; do
        if (: < "/dev/tcp/127.0.0.1/$DATA_PORT") 2>/dev/null; then return; fi
        if ! kill -0 "$server" 2>/dev/null; then server=; cat server.log; return 1; fi
        sleep 0.05
    done
    return 1
}
"#;

fn instead(text: &str) -> String {
    INSTEAD.iter().fold(text.to_owned(), |text, (this, that)| text.replace(this, that))
}

fn prepare(document: &str, folder: &Path) {
    for (_, name, given) in FILES.iter().filter(|(of, ..)| *of == document) {
        let content = match given {
            Given::Text(text) => text.as_bytes().to_owned(),
            Given::File(file) => fs::read(blocks::root().join(file)).unwrap(),
            Given::Settings(of) => instead(&settings_of(of)).into_bytes(),
        };
        fs::write(folder.join(name), content).unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs the commands of a document, and gives what is wrong.
fn run(document: &str, commands: &[blocks::Command]) -> String {
    let folder = tempfile::tempdir().unwrap();
    prepare(document, folder.path());
    let mut script = PRELUDE.to_owned();
    for command in commands {
        for (.., done) in
            BEFORE.iter().filter(|(of, begins, _)| *of == document && command.text.starts_with(begins))
        {
            writeln!(script, "{{\n{done}\n}} > before.log || cat before.log").unwrap();
        }
        let mut text = instead(&command.text);
        let mut words = text.split(" #").next().unwrap().split_whitespace();
        if words.any(|word| matches!(word, "serve" | "console")) && words.next_back() != Some("&") {
            text.insert_str(0, "foreground ");
        }
        if command.printed.contains('┌') && !text.contains("--format") {
            text.push_str(" --format table");
        }
        writeln!(script, "printf '\\036'\n{{ {text}\n}}\nprintf '\\037%s' $?").unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_fstore")).parent().unwrap();
    let path = env::var_os("PATH").unwrap();
    let paths = [program.to_owned()].into_iter().chain(env::split_paths(&path));
    let said = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", env::join_paths(paths).unwrap())
        .env("DATA_PORT", free_port().to_string())
        .env("ADMIN_PORT", free_port().to_string())
        .env_remove("FSTORE_URL")
        .env_remove("FSTORE_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout);
    let mut wrong = String::new();
    let mut outputs = said.split('\u{1e}').skip(1);
    for command in commands {
        let output = outputs.next().unwrap_or("nothing: the shell ended\u{1f}1");
        let (output, code) = output.split_once('\u{1f}').unwrap_or((output, "none"));
        let code = code.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        // What differs, and a row that a file should not have, are answers, too.
        let partly = command.shows || command.text.starts_with("fstore ingest");
        let right = code == "0" || (code == "3" && partly);
        if !right {
            writeln!(wrong, "\n{document}: `{}` ends with {code}:\n{output}", command.text).unwrap();
        } else if command.shows && blanked(output) != blanked(&command.printed) {
            writeln!(
                wrong,
                "\n{document}: `{}` prints\n{output}\nand not\n{}\n\n{}\n{}",
                command.text,
                command.printed,
                blanked(output),
                blanked(&command.printed)
            )
            .unwrap();
        }
    }
    wrong
}

#[test]
fn every_command_runs_and_prints_what_the_document_says() {
    let mut all = Vec::new();
    let mut unused: BTreeSet<_> =
        ELSEWHERE.iter().chain(BEFORE).map(|(of, begins, _)| (*of, *begins)).collect();
    let curl = Command::new("curl").arg("--version").output().is_ok();
    for (document, text) in documents() {
        let mut commands = commands(&document, &text);
        unused.retain(|(of, begins)| {
            *of != document || !commands.iter().any(|one| one.text.starts_with(begins))
        });
        commands.retain(|command| {
            !ELSEWHERE.iter().any(|(of, begins, _)| *of == document && command.text.starts_with(begins))
        });
        if !curl && commands.iter().any(|command| command.text.starts_with("curl")) {
            eprintln!("{document}: not run where `curl` is missing");
            continue;
        }
        if !commands.is_empty() {
            all.push((document, commands));
        }
    }
    let ran: usize = all.iter().map(|(_, commands)| commands.len()).sum();
    // Most of their time they wait.
    let wrong: String = thread::scope(|scope| {
        let mut runs = Vec::new();
        for (document, commands) in &all {
            runs.push(scope.spawn(|| run(document, commands)));
        }
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{wrong}");
    assert!(ran > 30, "{ran} commands were found");
    assert!(unused.is_empty(), "no document has what ELSEWHERE or BEFORE names: {unused:#?}");
}
