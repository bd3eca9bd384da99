//! Reading what source text declares.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

pub(crate) fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every source file of the crates, without tests.
pub(crate) fn rust_sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, sources: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() && !path.ends_with("tests") {
                collect(&path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let own = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
                sources.push((path, own.to_owned()));
            }
        }
    }
    let mut sources = Vec::new();
    let mut crates: Vec<_> =
        fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    crates.sort();
    for one in crates {
        collect(&one.join("src"), &mut sources);
    }
    sources
}

/// The members of an enum or struct that begins with this line, with what is said of each.
pub(crate) fn said(text: &str, head: &str) -> Vec<(String, String)> {
    let body = text.split_once(head).unwrap_or_else(|| panic!("no `{head}`")).1.split_once("\n}").unwrap().0;
    let (mut members, mut doc) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(part) = line.strip_prefix("///") {
            doc.push(part.trim());
        } else if !line.is_empty() {
            let name = line
                .trim_start_matches("pub ")
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap();
            members.push((name.to_owned(), std::mem::take(&mut doc).join(" ")));
        }
    }
    members
}

/// What each variant becomes in the `match` of a function; `_` is all others.
pub(crate) fn arms(text: &str, function: &str) -> BTreeMap<String, String> {
    let body = text.split_once(&format!("fn {function}(")).unwrap_or_else(|| panic!("no `{function}`")).1;
    let body = body.split_once("\n}").unwrap().0.split_once("match ").unwrap().1.split_once('{').unwrap().1;
    let mut arms = BTreeMap::new();
    for (pattern, value) in split_arms(body) {
        // An arm for some values of a variant only is not the variant's.
        for variant in pattern.split(" | ").filter(|variant| !variant.contains("status: ")) {
            let name = variant.trim().trim_start_matches("ErrorKind::").trim_start_matches("Cause::");
            let name = name.split(['(', ' ']).next().unwrap();
            arms.insert(name.to_owned(), value.clone());
        }
    }
    arms
}

fn split_arms(body: &str) -> Vec<(String, String)> {
    let lines = body.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let parts: Vec<&str> = text.split(" => ").collect();
    let mut arms = Vec::new();
    let mut pattern = parts[0].trim().to_owned();
    for part in &parts[1..] {
        // The value ends with its line, or its block; the next pattern follows.
        let end = if part.starts_with('{') {
            part.find('}').unwrap() + 1
        } else {
            part.find(",\n").unwrap_or(part.len())
        };
        arms.push((pattern, part[..end].trim_matches([' ', '\n', '{', '}']).to_owned()));
        pattern = part[end..].trim_start_matches(',').split_whitespace().collect::<Vec<_>>().join(" ");
    }
    arms
}

pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) labels: Vec<String>,
    pub(crate) description: String,
}

/// The metrics that a file describes, in its order, with the labels that it records them with.
pub(crate) fn described(text: &str) -> Vec<Described> {
    let mut metrics = Vec::new();
    for call in text.split("describe_").skip(1) {
        let Some((kind, rest)) = call.split_once("!(") else { continue };
        if !["counter", "gauge", "histogram"].contains(&kind) {
            continue;
        }
        let arguments = literals(rest.split_once(");").unwrap().0);
        let [name, description] = &arguments[..] else { panic!("{rest}") };
        let labels = labels(text, kind, name);
        metrics.push(Described {
            name: name.clone(),
            kind: kind.to_owned(),
            labels,
            description: description.clone(),
        });
    }
    metrics
}

fn literals(text: &str) -> Vec<String> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .map(|literal| literal.split("\\\n").map(str::trim_start).collect())
        .collect()
}

/// The labels are in the call that records the metric, or in a list of the file's own.
fn labels(text: &str, kind: &str, name: &str) -> Vec<String> {
    let call = format!("{kind}!(\"{name}\"");
    let calls = text.match_indices(&call).filter(|(at, _)| !text[..*at].ends_with("describe_"));
    let mut arguments = calls.map(|(at, _)| text[at + call.len()..].lines().next().unwrap());
    match arguments.next() {
        Some(arguments) if !arguments.contains("labels") => {
            let names = arguments.split(" => ").filter_map(|part| part.rsplit('"').nth(1));
            names.map(str::to_owned).collect()
        }
        _ => {
            let names = text.split("Label::new(\"").skip(1).filter_map(|rest| rest.split('"').next());
            names.map(str::to_owned).collect()
        }
    }
}

/// The public limits of a file, `MAX_…`, with what is said of each.
pub(crate) fn constants(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut limits = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(declared) = line.strip_prefix("pub const MAX_") else { continue };
        let docs = lines[..at].iter().rev().take_while(|line| line.starts_with("///"));
        let mut docs: Vec<&str> = docs.map(|line| line.trim_start_matches("///").trim()).collect();
        docs.reverse();
        let (name, value) = declared.trim_end_matches(';').split_once(" = ").unwrap();
        limits.push((shown(value, name.contains("BYTES")), docs.join(" ")));
    }
    limits
}

/// The defaults of a struct, by field, as settings write them.
pub(crate) fn defaults(text: &str, name: &str) -> BTreeMap<String, String> {
    let body =
        text.split_once(&format!("impl Default for {name} {{")).unwrap().1.split_once("\n}").unwrap().0;
    let fields =
        body.split_once("Self {\n").unwrap().1.lines().filter_map(|line| line.trim().split_once(": "));
    fields
        .map(|(key, value)| (key.to_owned(), shown(value.trim_end_matches(','), value.contains("<<"))))
        .collect()
}

/// A constant's value, as settings would write it.
fn shown(expression: &str, bytes: bool) -> String {
    if let Some(seconds) = expression.strip_prefix("Duration::from_secs(") {
        let seconds = value(seconds.trim_end_matches(')'));
        return if seconds.is_multiple_of(86_400) {
            format!("{}d", seconds / 86_400)
        } else {
            format!("{seconds}s")
        };
    }
    if let Some(millis) = expression.strip_prefix("Duration::from_millis(") {
        return format!("{}ms", millis.trim_end_matches(')'));
    }
    match value(expression) {
        size if bytes && size.is_multiple_of(1 << 20) => format!("{}MiB", size >> 20),
        size if bytes && size.is_multiple_of(1 << 10) => format!("{}KiB", size >> 10),
        number => number.to_string(),
    }
}

fn value(expression: &str) -> u64 {
    let number =
        |text: &str| text.trim().replace('_', "").parse::<u64>().unwrap_or_else(|_| panic!("{expression}"));
    match expression.trim_end_matches(" as usize") {
        "u16::MAX" => u16::MAX.into(),
        "u32::MAX" => u32::MAX.into(),
        other => match (other.split_once("<<"), other.split_once('*')) {
            (Some((value, by)), _) => number(value) << number(by),
            (_, Some((a, b))) => number(a) * number(b),
            _ => number(other),
        },
    }
}
