//! `docs/settings.md` says what the reader does.

use super::super::*;
use super::{env, read};

const DOC: &str = include_str!("../../../../../docs/settings.md");

/// The first block of the document in a language.
fn block(language: &str) -> &'static str {
    let (_, rest) = DOC.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// What the document has under the heading of a section.
fn section(name: &str) -> &'static str {
    let is_it = |block: &&str| block.trim_start_matches(['#', ' ']).starts_with(&format!("{name}\n"));
    let level = DOC.split("\n##").find(is_it);
    level.unwrap_or_else(|| panic!("there is no heading `{name}`"))
}

#[test]
fn the_examples_are_right() {
    let settings = read(SettingsFormat::Yaml, block("yaml")).unwrap();
    assert_eq!((settings.stores.len(), settings.tenants.len()), (2, 2));
    assert_eq!(settings.registry.as_ref().unwrap().services().len(), 1);
    let toml = read(SettingsFormat::Toml, block("toml")).unwrap();
    assert_eq!(toml.calls.deadline, settings.calls.deadline);
    let main = |settings: &Settings| settings.stores.iter().find(|store| store.name == "main").cloned();
    assert_eq!(main(&toml).unwrap().url, main(&settings).unwrap().url);
    assert_eq!(toml.routes[0].to.fallback, settings.routes[0].to.fallback);
}

/// A file in which every map has a key that nobody knows, so that every section says which it knows.
const UNKNOWN: &str = "
zzzzzzzzzzzzzzzz: 1
stores:
  a: {zzzzzzzzzzzzzzzz: 1, retry: {zzzzzzzzzzzzzzzz: 1}, hedge: {zzzzzzzzzzzzzzzz: 1},
      circuit: {zzzzzzzzzzzzzzzz: 1}, limit: {zzzzzzzzzzzzzzzz: 1}}
routes: [{zzzzzzzzzzzzzzzz: 1, fallback: {zzzzzzzzzzzzzzzz: 1}, mirror: {zzzzzzzzzzzzzzzz: 1}}]
default: {zzzzzzzzzzzzzzzz: 1}
tenants: [{zzzzzzzzzzzzzzzz: 1, quota: {zzzzzzzzzzzzzzzz: 1}}]
cache: {zzzzzzzzzzzzzzzz: 1}
migration: {zzzzzzzzzzzzzzzz: 1}
feature_views: [{zzzzzzzzzzzzzzzz: 1}]
feature_services: [{zzzzzzzzzzzzzzzz: 1}]
";

#[test]
fn every_key_is_in_the_document_and_no_other() {
    let problems = SettingsReader::new(SettingsFormat::Yaml).env(&env).read(UNKNOWN).unwrap_err();
    let mut documented = std::collections::BTreeMap::new();
    for problem in problems.iter() {
        let Some((_, known)) = problem.message.split_once("unknown key; known are ") else { continue };
        let path = problem.path.trim_end_matches("zzzzzzzzzzzzzzzz").trim_end_matches(['.', ']', '0', '[']);
        let heading = match path.rsplit('.').next().unwrap() {
            "" => "The file".to_owned(),
            "a" => "`stores`".to_owned(),
            "default" => "`routes`".to_owned(),
            name => format!("`{name}`"),
        };
        let text = section(&heading);
        let keys: Vec<&str> = known.split(", ").collect();
        for key in &keys {
            assert!(text.contains(&format!("\n| `{key}` |")), "`{key}` is not under {heading}");
        }
        if path != "default" {
            documented.insert(heading, keys.len());
        }
    }
    assert_eq!(documented.len(), 15, "{documented:?}");
    for (heading, keys) in documented {
        assert_eq!(section(&heading).matches("\n| `").count(), keys, "{heading} has keys that there are not");
    }
}

#[test]
fn defaults_are_as_documented() {
    // Every default that the document states as a value, stated in a file, changes nothing.
    let plain = "stores: {a: {url: 'memory:', retry: {}, hedge: {}, circuit: {}, limit: {}}}
default: {store: a}
tenants: [{quota: {}}]
cache: {ttl: 1s}
migration: {}
feature_views: [{name: v, entities: [e], features: {x: bool}}]
feature_services: [{name: s, features: ['v:x']}]
";
    let stated = |heading: &str| -> String {
        let rows = section(heading).lines().filter_map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            let key = cells.first()?.strip_prefix("| `")?.strip_suffix('`')?;
            let default = cells.get(2)?.strip_prefix('`')?.split('`').next()?;
            (key != "ttl").then(|| format!("{key}: '{default}'").replace('\'', quote(default)))
        });
        rows.collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "stores: {{a: {{url: 'memory:', retry: {{{}}}, hedge: {{{}}}, circuit: {{{}}}, limit: {{{}}}}}}}
default: {{store: a}}
tenants: [{{{}, quota: {{{}}}}}]
cache: {{ttl: 1s, {}}}
migration: {{{}}}
feature_views: [{{name: v, entities: [e], features: {{x: bool}}, {}}}]
feature_services: [{{name: s, features: ['v:x']}}]
{}
",
        stated("`retry`"),
        stated("`hedge`"),
        stated("`circuit`"),
        stated("`limit`"),
        stated("`tenants`"),
        stated("`quota`"),
        stated("`cache`"),
        stated("`migration`"),
        stated("`feature_views`"),
        stated("The file").replace(", ", "\n"),
    );
    let [mut plain, mut stated] =
        [plain, &text].map(|text| read(SettingsFormat::Yaml, text).unwrap_or_else(|e| panic!("{e}\n{text}")));
    (plain.lines, stated.lines) = (Lines::default(), Lines::default());
    let registry = |settings: &Settings| serde_json::to_string(&settings.registry).unwrap();
    assert_eq!(registry(&stated), registry(&plain));
    assert_eq!(stated, plain);
}

/// A pattern and a word need quotes, a number must not have them.
fn quote(default: &str) -> &'static str {
    if default.parse::<f64>().is_ok() || default == "false" { "" } else { "'" }
}
