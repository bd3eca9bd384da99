//! Generated files: both languages say the same, and no mistake hides another.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::super::*;

/// A setting in both languages: a key with a right value, and the same with wrong ones. All values are
/// written alike in YAML and TOML.
struct Line {
    key: &'static str,
    right: &'static [&'static str],
    wrong: &'static [&'static str],
}

const fn line(key: &'static str, right: &'static [&'static str], wrong: &'static [&'static str]) -> Line {
    Line { key, right, wrong }
}

/// Keys of a map at each path of the file, in the order in which TOML can have them.
const FILE: &[(&str, &[Line])] = &[
    (
        "",
        &[
            line("deadline", &["\"20ms\"", "\"5s\""], &["7", "\"soon\"", "[]", "\"0s\""]),
            line("max_future_skew", &["\"1h\"", "\"0s\""], &["true", "1.5"]),
            line("colour", &[], &["\"blue\""]),
        ],
    ),
    (
        "stores.a",
        &[
            line("url", &["\"memory:\"", "\"x://${HOST}/1\""], &["1", "\"none\"", "\"${UNSET}\""]),
            line("ulr", &[], &["\"memory:\""]),
        ],
    ),
    (
        "stores.a.retry",
        &[
            line("max_retries", &["1", "7"], &["0", "\"many\"", "-1"]),
            line("max_extra", &["0.5", "1"], &["1.5", "\"5%\""]),
        ],
    ),
    (
        "stores.a.circuit",
        &[line("in_a_row", &["3"], &["0", "2.5"]), line("slow", &["\"5ms\""], &["5", "\"5 ms\""])],
    ),
    ("stores.b", &[line("url", &["\"memory:\""], &["[\"memory:\"]"])]),
    ("default", &[line("store", &["\"a\"", "\"b\""], &["\"c\"", "3"])]),
    ("default.mirror", &[line("required", &["true", "false"], &["1", "\"yes\""]), line("stor", &[], &["1"])]),
    (
        "cache",
        &[
            line("ttl", &["\"1s\"", "\"off\""], &["false", "1"]),
            line("max_bytes", &["1024", "\"64MiB\""], &["0", "\"64MiBs\"", "-1"]),
        ],
    ),
    ("cache.views", &[line("v", &["\"2s\"", "\"off\""], &["2"])]),
    ("migration", &[line("refresh", &["\"100ms\""], &["\"1h\"", "100"])]),
];

/// What every file has that must be there, and comes last.
const YAML_REST: &str = "feature_views:\n- {name: v, entities: [e], features: {x: bool}}\n";
const TOML_REST: &str = "[[feature_views]]\nname = \"v\"\nentities = [\"e\"]\nfeatures = { x = \"bool\" }\n";

/// A key that is in a file: the place of its map, its own place there, its value, and whether that is right.
type Chosen = (usize, usize, &'static str, bool);

/// Both texts, and for each wrong value its line in each.
fn write(chosen: &[Chosen]) -> (String, String, Vec<(usize, usize)>) {
    let (mut yaml, mut toml) = (String::new(), String::new());
    let mut wrong = Vec::new();
    let mut begun: Vec<&str> = Vec::new();
    for (number, (path, keys)) in FILE.iter().enumerate() {
        let names: Vec<&str> = path.split('.').filter(|name| !name.is_empty()).collect();
        for (depth, name) in names.iter().enumerate() {
            if begun.get(depth) != Some(name) {
                begun.truncate(depth);
                begun.push(name);
                writeln!(yaml, "{}{name}:", "  ".repeat(depth)).unwrap();
            }
        }
        begun.truncate(names.len());
        if !path.is_empty() {
            writeln!(toml, "[{path}]").unwrap();
        }
        let of_map = chosen.iter().filter(|(map, ..)| *map == number);
        let fixed = if *path == "default.mirror" { Some(("store", "\"b\"", true)) } else { None };
        let stated = of_map.map(|(_, key, value, right)| (keys[*key].key, *value, *right)).chain(fixed);
        let indent = "  ".repeat(names.len());
        let mut any = false;
        for (key, value, right) in stated {
            any = true;
            writeln!(yaml, "{indent}{key}: {value}").unwrap();
            writeln!(toml, "{key} = {value}").unwrap();
            if !right {
                wrong.push((yaml.lines().count(), toml.lines().count()));
            }
        }
        let has_children =
            FILE.iter().any(|(other, _)| !path.is_empty() && other.starts_with(&format!("{path}.")));
        if !any && !path.is_empty() && !has_children {
            // A map without keys is written on the line of its own key.
            yaml.truncate(yaml.trim_end().len());
            yaml.push_str(" {}\n");
        }
    }
    (yaml + YAML_REST, toml + TOML_REST, wrong)
}

/// Keys with right values, of which `url`, a store and a ttl are always there.
fn rights() -> impl Strategy<Value = Vec<Chosen>> {
    let all: Vec<(usize, usize)> = places(|line| !line.right.is_empty());
    let needed = |(map, key): &(usize, usize)| matches!(FILE[*map].1[*key].key, "url" | "store" | "ttl");
    let count = all.len();
    (subsequence(all.clone(), 0..=count), any::<Index>()).prop_map(move |(some, value)| {
        let stated = all.iter().filter(|place| needed(place) || some.contains(place));
        let choose = |(map, key): &(usize, usize)| (*map, *key, *value.get(FILE[*map].1[*key].right), true);
        // A mirror is another store than `b`.
        let fix = |(map, key, value, right): Chosen| {
            let is_default = FILE[map].0 == "default";
            (map, key, if is_default { "\"a\"" } else { value }, right)
        };
        stated.map(choose).map(fix).collect()
    })
}

fn places(wanted: impl Fn(&Line) -> bool) -> Vec<(usize, usize)> {
    let maps = FILE.iter().enumerate();
    maps.flat_map(|(map, (_, keys))| (0..keys.len()).map(move |key| (map, key)))
        .filter(|(map, key)| wanted(&FILE[*map].1[*key]))
        .collect()
}

fn both(yaml: &str, toml: &str) -> [Result<Settings, Problems>; 2] {
    let env = |name: &str| (name == "HOST").then(|| "there".to_owned());
    let read = |format, text| SettingsReader::new(format).env(&env).read(text);
    [read(SettingsFormat::Yaml, yaml), read(SettingsFormat::Toml, toml)]
}

proptest! {
    #[test]
    fn both_languages_say_the_same(chosen in rights()) {
        let (yaml, toml, wrong) = write(&chosen);
        prop_assert!(wrong.is_empty());
        let [mut yaml, mut toml] = both(&yaml, &toml).map(|read| read.unwrap_or_else(|e| panic!("{e}\n{yaml}\n{toml}")));
        (yaml.lines, toml.lines) = (Lines::default(), Lines::default());
        prop_assert_eq!(yaml, toml);
    }

    #[test]
    fn no_mistake_hides_another(
        mut chosen in rights(),
        mistakes in subsequence(places(|_| true), 1..=places(|_| true).len()),
        value in any::<Index>(),
    ) {
        chosen.retain(|(map, key, ..)| !mistakes.contains(&(*map, *key)));
        chosen.extend(mistakes.iter().map(|(map, key)| (*map, *key, *value.get(FILE[*map].1[*key].wrong), false)));
        let (yaml, toml, wrong) = write(&chosen);
        let [of_yaml, of_toml] = both(&yaml, &toml).map(|read| read.unwrap_err());
        for (line_of_yaml, line_of_toml) in wrong {
            prop_assert!(of_yaml.iter().any(|p| p.line == line_of_yaml), "line {line_of_yaml} of\n{yaml}\n{of_yaml}");
            prop_assert!(of_toml.iter().any(|p| p.line == line_of_toml), "line {line_of_toml} of\n{toml}\n{of_toml}");
        }
        prop_assert_eq!(of_yaml.iter().map(Problem::to_string).collect::<std::collections::BTreeSet<_>>(),
            of_toml.iter().map(Problem::to_string).collect());
    }
}
