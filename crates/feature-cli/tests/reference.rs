//! `docs/reference` says what the code has, and nothing else. `FSTORE_BLESS=1` writes its pages anew.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of these tests may panic as the tests do"
)]

#[path = "reference/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use feature_store::unified::observe::names;
use source::{arms, constants, defaults, described, read, root, rust_sources, said};

/// Compares a page with what the code gives.
fn compare(name: &str, text: &str) {
    let file = root().join("docs/reference").join(name);
    let note = "<!-- Made from the code: `FSTORE_BLESS=1 cargo test -p feature-cli --test reference` writes it anew. -->";
    let (title, rest) = text.split_once("\n\n").unwrap();
    let text = format!("{title}\n\n{note}\n\n{rest}");
    if std::env::var_os("FSTORE_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (committed_lines, made) = (lines(&committed), lines(&text));
    assert!(
        committed == text,
        "docs/reference/{name} is not what the code has (FSTORE_BLESS=1 writes it anew)\nlacks: {:#?}\nhas besides: {:#?}",
        made.difference(&committed_lines).collect::<Vec<_>>(),
        committed_lines.difference(&made).collect::<Vec<_>>(),
    );
}

/// What `fstore` says in a folder, on both of its outputs, and whether it was content.
fn fstore(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fstore"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    let said = command.env_remove("FSTORE_URL").env_remove("FSTORE_CONFIG").output().unwrap();
    (said.status.success(), String::from_utf8([said.stdout, said.stderr].concat()).unwrap())
}

/// What a command says of itself.
fn help(path: &[&str]) -> String {
    let (content, said) = fstore(Path::new("."), &[path, &["--help"]].concat());
    assert!(content, "{path:?}: {said}");
    said.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The commands of a command, by its help.
fn commands(help: &str) -> Vec<&str> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let list = list.split("\n\n").next().unwrap().lines();
    let names =
        list.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

/// The options of a help, each with all that is said of it, and what is before and after them.
fn options(help: &str) -> (&str, Vec<String>, &str) {
    let (before, rest) = help.split_once("\nOptions:\n").unwrap();
    // A line that begins at the left ends the list.
    let end = rest.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    let length = end.map(|line| line.len() + 1).sum::<usize>().min(rest.len());
    let mut options: Vec<String> = Vec::new();
    for line in rest[..length].lines() {
        if line.trim_start().starts_with('-') && line.len() - line.trim_start().len() < 8 {
            options.push(String::new());
        }
        let option = options.last_mut().unwrap();
        option.push_str(line);
        option.push('\n');
    }
    (before, options.into_iter().map(|option| option.trim_end().to_owned()).collect(), &rest[length..])
}

fn describe_commands(page: &mut String, path: &[&str], everywhere: &[String]) {
    let text = help(path);
    let (before, options, after) = options(&text);
    let own: Vec<_> =
        options.iter().filter(|option| !everywhere.contains(option)).map(String::as_str).collect();
    let mut text = before.trim_end().to_owned();
    if !own.is_empty() {
        write!(text, "\n\nOptions:\n{}", own.join("\n\n")).unwrap();
    }
    if !after.trim().is_empty() {
        write!(text, "\n\n{}", after.trim_end()).unwrap();
    }
    write!(page, "\n## `fstore {}`\n\n```text\n{text}\n```\n", path.join(" ")).unwrap();
    for name in commands(&text) {
        describe_commands(page, &[path, &[name]].concat(), everywhere);
    }
}

#[test]
fn cli() {
    let top = help(&[]);
    let (_, everywhere, _) = options(&top);
    let mut page = format!(
        "# The command line\n\nWhat `fstore --help` and the help of each command say. The options of `fstore` itself can be given to every \
         command.\n\n## `fstore`\n\n```text\n{top}\n```\n"
    );
    let names = commands(&top);
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        describe_commands(&mut page, &[name], &everywhere);
    }
    compare("cli.md", &page);
}

#[test]
fn errors() {
    let core = read("crates/feature-core/src/error.rs");
    let kinds = said(&core, "pub enum ErrorKind {");
    let transient = core.split_once("fn is_transient").unwrap().1.split_once('}').unwrap().0;
    let problem = read("crates/feature-server/src/http/problem.rs");
    let status = read("crates/feature-server/src/grpc/status.rs");
    let (of_http, of_grpc) = (arms(&problem, "status_of_kind"), arms(&status, "code_of_kind"));
    let python = read("crates/feature-python/python/feature_store/errors.py");
    let classes: BTreeSet<_> =
        python.lines().filter_map(|line| line.strip_prefix("class ")?.split_once("Error(")).collect();
    let mut page = "# Errors\n\nEvery error has a kind, which says what can be done about it. In Rust it is `Error::kind()`; over HTTP the \
                    `kind` of a [problem](../api.md#what-goes-wrong); over gRPC the `reason` of the [details](../grpc.md#what-goes-wrong); in \
                    Python the class in `feature_store.errors`.\n\n\
                    | kind | HTTP | gRPC | Python | may pass by itself | what it is: what to do |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for (kind, meaning) in &kinds {
        let class = format!("class {kind}Error(");
        let bases = python.split_once(&class).unwrap_or_else(|| panic!("Python has no {class}")).1;
        let (bases, rest) = bases.split_once("):").unwrap();
        assert!(
            rest.trim_start().starts_with(&format!("\"\"\"{meaning}")),
            "{kind}: Python says something else"
        );
        let also = bases.split(", ").skip(1).map(|base| format!(", a `{base}`")).collect::<String>();
        writeln!(
            page,
            "| `{kind}` | {} | `{}` | `{kind}Error`{also} | {} | {meaning} |",
            number(of_http.get(kind.as_str()).or(of_http.get("_")).unwrap()),
            code(of_grpc.get(kind.as_str()).or(of_grpc.get("_")).unwrap()),
            if transient.contains(&format!("Self::{kind}")) { "yes" } else { "no" },
        )
        .unwrap();
    }
    let known: BTreeSet<_> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    let of_python: BTreeSet<_> =
        classes.iter().map(|(name, _)| *name).filter(|name| *name != "FeatureStore").collect();
    assert_eq!(of_python, known, "the classes of Python are not the kinds");

    page.push_str(
        "\nThe status of HTTP and the code of gRPC are those of a call that failed as a whole. \"May pass\": the same call may succeed later \
         (`retryable`, which an error can also deny). After `Unavailable` or `DeadlineExceeded` a write may have been done; `in_doubt` says so, and \
         sending it again is safe.\n\n## Of the server alone\n\nThese replace the kind where a request did not come as far as the \
         store.\n\n| kind | HTTP | gRPC | what it is |\n|---|---|---|---|\n",
    );
    let causes = said(&read("crates/feature-server/src/calls/error.rs"), "pub(crate) enum Cause {");
    let (named, of_http, of_grpc) =
        (arms(&problem, "kind_of"), arms(&problem, "status_of"), arms(&status, "code_of"));
    for (cause, meaning) in causes {
        let Some(name) = named[&cause].strip_prefix('"') else { continue };
        writeln!(
            page,
            "| `{}` | {} | `{}` | {meaning} |",
            name.trim_end_matches('"'),
            number(&of_http[&cause]),
            code(&of_grpc[&cause]),
        )
        .unwrap();
    }
    page.push_str("\nWhat Feast's protocol has names of its own for is in [feast.md](../feast.md).\n");
    compare("errors.md", &page);
}

/// The number of a status of HTTP, by the name of its constant.
fn number(constant: &str) -> u16 {
    match constant.trim_start_matches("StatusCode::") {
        "BAD_REQUEST" => 400,
        "UNAUTHORIZED" => 401,
        "FORBIDDEN" => 403,
        "NOT_FOUND" => 404,
        "METHOD_NOT_ALLOWED" => 405,
        "REQUEST_TIMEOUT" => 408,
        "CONFLICT" => 409,
        "PAYLOAD_TOO_LARGE" => 413,
        "UNSUPPORTED_MEDIA_TYPE" => 415,
        "TOO_MANY_REQUESTS" => 429,
        "INTERNAL_SERVER_ERROR" => 500,
        "NOT_IMPLEMENTED" => 501,
        "SERVICE_UNAVAILABLE" => 503,
        "GATEWAY_TIMEOUT" => 504,
        other => panic!("what number has {other}?"),
    }
}

/// A code of gRPC, as its specification writes it.
fn code(variant: &str) -> String {
    let name = variant.trim_start_matches("Code::");
    let mut code = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !code.is_empty() {
            code.push('_');
        }
        code.push(letter.to_ascii_uppercase());
    }
    code
}

#[test]
fn metrics() {
    let mut page = "# Metrics\n\nWhat the admin port of `fstore serve` shows at `/metrics`, and what a program that uses the library can record. A tenant's or \
                    an entity's name is never a label. [Watching it](../observability.md) says what to look at.\n"
        .to_owned();
    let row = |page: &mut String, name: &str, kind: &str, labels: &[String], description: &str| {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{name}` | {kind} | {} | {description} |", labels.join(" ")).unwrap();
    };
    let head = |page: &mut String, title: &str| {
        write!(page, "\n## {title}\n\n| metric | type | labels | |\n|---|---|---|---|\n").unwrap();
    };
    head(&mut page, "Of requests and stores");
    for metric in names::ALL {
        let labels: Vec<_> = metric.labels.iter().map(|&label| label.to_owned()).collect();
        row(&mut page, metric.name, metric.kind.name(), &labels, metric.description);
    }
    let mut known: BTreeSet<String> = names::ALL.iter().map(|metric| metric.name.to_owned()).collect();
    let (mut recorded, mut files) = (BTreeSet::new(), BTreeSet::new());
    for (title, file) in [
        ("Of the server", "crates/feature-server/src/observe.rs"),
        ("Of streams", "crates/feature-cli/src/commands/serve/metrics.rs"),
    ] {
        head(&mut page, title);
        let metrics = described(&read(file));
        assert!(!metrics.is_empty(), "{file}");
        for metric in metrics {
            row(&mut page, &metric.name, &metric.kind, &metric.labels, &metric.description);
            assert!(known.insert(metric.name.clone()), "{} is there twice", metric.name);
        }
        files.insert(root().join(file));
    }
    for (file, text) in rust_sources() {
        if text.contains("describe_counter!(")
            || text.contains("describe_gauge!(")
            || text.contains("describe_histogram!(")
        {
            assert!(files.contains(&file), "{} has metrics that the reference does not know", file.display());
        }
        for kind in ["counter!(", "gauge!(", "histogram!("] {
            let names = text
                .split(kind)
                .skip(1)
                .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
            recorded.extend(names.map(str::to_owned));
        }
    }
    let unknown: Vec<_> = recorded.difference(&known).collect();
    assert!(unknown.is_empty(), "nothing describes {unknown:?}");
    compare("metrics.md", &page);
}

#[test]
fn limits() {
    let mut page = "# Limits\n\n\
                    ## Of the record and the store\n\nThese are fixed. What is beyond one of them is refused before anything is sent.\n\n\
                    | where | limit | |\n|---|---|---|\n"
        .to_owned();
    for (file, text) in rust_sources() {
        let limits = constants(&text);
        if limits.is_empty() {
            continue;
        }
        let place = match file
            .strip_prefix(root().join("crates"))
            .unwrap()
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
        {
            "feature-core" => "everywhere",
            "store-embedded" => "embedded",
            "store-redis" => "Redis",
            "store-aerospike" => "Aerospike",
            other => panic!("{other} has a limit; where does it hold?"),
        };
        for (value, description) in limits {
            writeln!(page, "| {place} | {value} | {description} |").unwrap();
        }
    }
    let settings = read("crates/feature-server/src/settings/mod.rs");
    let guide = read("docs/serving.md");
    for (name, title, introduction) in [
        ("Limits", "limits", "Set under [`server.limits`](../serving.md#limits-1)."),
        ("Timeouts", "timeouts", "Set under [`server.timeouts`](../serving.md#timeouts)."),
    ] {
        write!(
            page,
            "\n## Of the server: `{title}`\n\n{introduction}\n\n| key | default | |\n|---|---|---|\n"
        )
        .unwrap();
        let section = guide.split_once(&format!("### `{title}`\n")).unwrap().1.split("\n#").next().unwrap();
        let defaults = defaults(&settings, name);
        for (key, meaning) in said(&settings, &format!("pub struct {name} {{")) {
            let default = &defaults[&key];
            let meaning = meaning.split(" Default ").next().unwrap();
            writeln!(page, "| `{key}` | `{default}` | {meaning} |").unwrap();
            let row = section.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
            assert!(
                row.is_some_and(|row| row.contains(&format!("| `{default}` |"))),
                "docs/serving.md: {key}: {row:?}"
            );
        }
    }
    // That this document has what the code has is tested with the reader of settings.
    let guide = read("docs/settings.md");
    for (title, text) in [("limit", "stores"), ("quota", "tenants")] {
        let table = guide.split_once(&format!("### `{title}`\n\n")).unwrap().1.split("\n\n").next().unwrap();
        write!(
            page,
            "\n## Of `{text}`: `{title}`\n\nSet under [`{text}`](../settings.md#{title}).\n\n{table}\n"
        )
        .unwrap();
    }
    compare("limits.md", &page);
}

#[test]
fn settings_are_in_their_guides() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        "zz: 1\nstores: { main: 'embedded:main.redb' }\ndefault: { store: main }\nserver: { zz: 1 }\n";
    fs::write(folder.path().join("settings.yaml"), settings).unwrap();
    let (_, said) = fstore(folder.path(), &["config", "check", "settings.yaml"]);
    let known = |path: &str| -> BTreeSet<String> {
        let line = said
            .lines()
            .find(|line| line.contains(&format!(": {path}: unknown key")))
            .unwrap_or_else(|| panic!("{said}"));
        line.split_once("known are ").unwrap().1.split(", ").map(str::to_owned).collect()
    };
    let documented = |file: &str, title: &str| -> BTreeSet<String> {
        let text = read(file);
        let section = text.split_once(title).unwrap().1.split("\n#").next().unwrap();
        section
            .lines()
            .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
            .collect()
    };
    assert_eq!(documented("docs/settings.md", "## The file\n"), known("zz"));
    assert_eq!(documented("docs/serving.md", "## The section `server`\n"), known("server.zz"));
}
