//! `${NAME}` in a text stands for a variable of the environment, `$${` for `${` itself.

use super::node::{Node, Value};
use super::problem::Sink;

/// Looks a variable up.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces what stands for a variable in every text under this node.
pub(super) fn substitute(node: &mut Node, path: &str, lookup: Lookup<'_>, sink: &Sink) {
    match &mut node.value {
        Value::List(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                substitute(item, &item_path(path, at), lookup, sink);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                substitute(&mut entry.value, &member_path(path, &entry.key), lookup, sink);
            }
        }
        Value::Text(text) if text.contains("${") => {
            node.value = match expand(text, lookup) {
                Ok((text, true)) => Value::Concealed(text),
                Ok((text, false)) => Value::Text(text),
                Err(problems) => {
                    for problem in problems {
                        sink.add(path, node.at, problem);
                    }
                    Value::Unreadable
                }
            };
        }
        _ => {}
    }
}

/// The path of a member of a map. A URL in the place of a key may hold a password.
pub(super) fn member_path(path: &str, key: &str) -> String {
    let key = if key.contains("://") { "…" } else { key };
    match path {
        "" => key.to_owned(),
        _ => format!("{path}.{key}"),
    }
}

/// The path of an item of a list.
pub(super) fn item_path(path: &str, at: usize) -> String {
    format!("{path}[{at}]")
}

/// The text with its variables replaced, and whether there were some; or all that is wrong with it.
fn expand(text: &str, lookup: Lookup<'_>) -> Result<(String, bool), Vec<String>> {
    let (mut out, mut replaced, mut problems) = (String::new(), false, Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            problems.push("a `${` has no `}`; for the characters themselves write `$${`".to_owned());
            break;
        };
        rest = after;
        replaced = true;
        match lookup(name).filter(|_| is_name(name)) {
            Some(value) => out.push_str(&value),
            None if is_name(name) => {
                problems.push(format!("the environment variable `{name}` is not set"));
            }
            None => problems.push(
                "what stands in `${…}` is not the name of an environment variable: letters, digits and `_`, \
                 not a digit first"
                    .to_owned(),
            ),
        }
    }
    out.push_str(rest);
    if problems.is_empty() { Ok((out, replaced)) } else { Err(problems) }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "SECRET").then(|| "h${A}r".to_owned())
    }

    #[test]
    fn variables_are_replaced_once_and_dollars_can_be_written() {
        for (text, expanded, replaced) in [
            ("${SECRET}", "h${A}r", true),
            ("redis://:${SECRET}@h/${SECRET}", "redis://:h${A}r@h/h${A}r", true),
            ("$${SECRET}", "${SECRET}", false),
            ("$$${SECRET}", "$${SECRET}", false),
            ("$5 and }", "$5 and }", false),
        ] {
            assert_eq!(expand(text, &lookup).unwrap(), (expanded.to_owned(), replaced), "{text}");
        }
    }

    #[test]
    fn every_missing_variable_is_named() {
        let problems = expand("${A}${SECRET}${_B2}${1}${", &lookup).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].contains("`A` is not set") && problems[1].contains("`_B2` is not set"));
        assert!(problems[2].contains("not the name") && problems[3].contains("no `}`"));
    }
}
