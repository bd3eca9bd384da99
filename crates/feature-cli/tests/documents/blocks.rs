//! The blocks of code of the documents.

use std::fs;
use std::path::Path;

/// A file that a document takes as given.
pub(crate) enum Given {
    /// This text.
    Text(&'static str),
    /// A file of the repository.
    File(&'static str),
    /// The settings that a document shows.
    Settings(&'static str),
}

/// A command of a document.
pub(crate) struct Command {
    pub(crate) text: String,
    /// What is printed below it.
    pub(crate) printed: String,
    /// Whether the document shows what is printed.
    pub(crate) shows: bool,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The README and all of `docs/`, by name.
pub(crate) fn documents() -> Vec<(String, String)> {
    let folder = fs::read_dir(root().join("docs")).unwrap();
    let mut names: Vec<_> = folder
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.push("README.md".to_owned());
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read_to_string(root().join(name)).unwrap())).collect()
}

/// Language and text of each block.
fn blocks(text: &str) -> Vec<(String, String)> {
    let (mut blocks, mut open): (Vec<(String, String)>, bool) = (Vec::new(), false);
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                blocks.push((language.to_owned(), String::new()));
            }
            None if open => {
                let block = &mut blocks.last_mut().unwrap().1;
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// The first block of a document that describes stores.
pub(crate) fn settings_of(document: &str) -> String {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let found =
        blocks(&text).into_iter().find(|(language, text)| language == "yaml" && text.starts_with("stores:"));
    found.unwrap().1
}

/// Every command of a document, in its order.
pub(crate) fn commands(document: &str, text: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    for (language, text) in blocks(text) {
        let session = text.starts_with("$ ");
        assert_eq!(session, language == "console", "{document}: a session is a block in `console`:\n{text}");
        match language.as_str() {
            "console" => {
                for step in format!("\n{text}").split("\n$ ").skip(1) {
                    let (text, printed) = first_command(step);
                    commands.push(Command { text, printed: printed.trim().to_owned(), shows: true });
                }
            }
            "sh" | "bash" | "shell" => {
                let mut rest = text.as_str();
                while !rest.trim().is_empty() {
                    let (text, after) = first_command(rest);
                    rest = after;
                    if !text.is_empty() && !text.starts_with('#') {
                        commands.push(Command { text, printed: String::new(), shows: false });
                    }
                }
            }
            _ => {}
        }
    }
    commands
}

/// The first command of lines, which may go over several of them, and the rest.
fn first_command(text: &str) -> (String, &str) {
    let (mut length, mut end) = (0, None::<String>);
    for line in text.split_inclusive('\n') {
        length += line.len();
        let line = line.trim_end();
        match &end {
            Some(mark) if line == mark => end = None,
            Some(_) => {}
            None => end = line.split_once("<<'").map(|(_, rest)| rest.split('\'').next().unwrap().to_owned()),
        }
        let quoted = text[..length].matches('\'').count() % 2 == 1;
        if end.is_none() && !quoted && !line.ends_with('\\') {
            break;
        }
    }
    (text[..length].trim().to_owned(), &text[length..])
}

/// A text without its times and figures, and without what frames a table.
pub(crate) fn blanked(text: &str) -> String {
    // Bytes of a record are full of times.
    let mut parts = text.split("\"record\":\"");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        plain.push_str("record:");
        plain.push_str(part.split_once('"').unwrap_or((part, "")).1);
    }
    let mut blanked = String::new();
    for c in plain.chars() {
        match c {
            '0'..='9' if blanked.ends_with('#') => {}
            '0'..='9' if blanked.ends_with("#.") => {
                blanked.pop();
            }
            '0'..='9' => blanked.push('#'),
            '\u{2500}'..='\u{257f}' => blanked.push(' '),
            other => blanked.push(other),
        }
    }
    blanked.split_whitespace().collect::<Vec<_>>().join(" ")
}
