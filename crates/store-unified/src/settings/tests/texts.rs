//! Any text gives settings or problems.

use proptest::prelude::*;

use super::super::*;
use super::{read, said, yaml};

#[test]
fn what_is_no_yaml_or_toml_is_said_with_its_line() {
    for (format, text, expected) in [
        (SettingsFormat::Yaml, "stores:\n  a: [\n", "this is not YAML"),
        (SettingsFormat::Yaml, "", "1: the file is empty"),
        (SettingsFormat::Yaml, "# nothing", "1: the file is empty"),
        (SettingsFormat::Yaml, "a: 1\n---\nb: 1", "2: a second document begins"),
        (SettingsFormat::Yaml, "[1]: x", "1: a key is a list or map"),
        (SettingsFormat::Yaml, "a: &x [*x]", "1: an alias lies within what it stands for"),
        (SettingsFormat::Yaml, "a: !!int x", "1: the value is not what its tag `int` says"),
        (SettingsFormat::Yaml, "a: *b", "1: this is not YAML"),
        (SettingsFormat::Yaml, "7", "1: expected a map, found the number 7"),
        (SettingsFormat::Toml, "a = 1\n[b]\nc = \nd = 'x'\ne = ?", "3: this is not TOML"),
        (SettingsFormat::Toml, "a = 1\na = 2", "2: this is not TOML: duplicate key"),
        (SettingsFormat::Toml, "", "1: stores: it is missing"),
    ] {
        let said = said(read(format, text));
        assert!(said[0].contains(expected), "{text:?}: {said:?}");
    }
    let both = said(read(SettingsFormat::Toml, "a = ?\nb = 1\nc = ?"));
    assert_eq!(both.iter().map(|said| &said[..2]).collect::<Vec<_>>(), ["1:", "3:"], "{both:?}");
}

#[test]
fn hostile_files_are_refused() {
    let laughs: String = std::iter::once("l0: &l0 [x]\n".to_owned())
        .chain((1..20).map(|n| format!("l{n}: &l{n} [{}]\n", vec![format!("*l{}", n - 1); 10].join(","))))
        .collect();
    let chain: String = std::iter::once("l0: &l0 [x]\n".to_owned())
        .chain((1..5000).map(|n| format!("l{n}: &l{n} [*l{}]\n", n - 1)))
        .collect();
    let many = 1 << 19;
    let repeated = |unit: &str| unit.repeat(many / unit.len());
    for text in [
        laughs,
        chain,
        repeated("["),
        repeated("{a: "),
        repeated("- "),
        repeated("? "),
        repeated("&a "),
        repeated("a: &a b\n"),
        repeated("!!"),
        repeated("'"),
        repeated("${"),
        format!("a: [{}]", repeated("1,")),
        format!("a: [{}]", repeated("[],")),
        "x".repeat(MAX_BYTES + 1),
    ] {
        let said = said(yaml(&text));
        assert!(!said.is_empty(), "{}", &text[..40]);
    }
    for text in [
        repeated("a."),
        format!("a = {}", repeated("[")),
        format!("a = {}", repeated("{a=")),
        format!("a = {}", format!("{{{}=", ["a"; 30].join(".")).repeat(many / 60)),
        format!("[{}]", repeated("a.")),
        repeated("[a]\n"),
        repeated("a = '''\n"),
        format!("[{}]\nx.{}=1", ["a"; 30].join("."), ["a"; 30].join(".")),
        format!("a = {}", format!("{{{}=", ["a"; 30].join(".")).repeat(79)),
    ] {
        let said = said(read(SettingsFormat::Toml, &text));
        assert!(!said.is_empty(), "{}", &text[..40]);
    }
}

proptest! {
    #[test]
    fn any_text_gives_settings_or_problems(
        text in "\\PC{0,200}",
        alike in "([a-z]{1,3}: |- |\\[|\\]|\\{|\\}|,|\n {0,4}|&a |\\*a|'|\"|=|\\.|\\$\\{|#|!!|[0-9]|\\| ?\n){0,60}",
    ) {
        for text in [text, alike] {
            for format in [SettingsFormat::Yaml, SettingsFormat::Toml] {
                if let Err(problems) = read(format, &text) {
                    prop_assert!(problems.iter().count() > 0);
                    let lines = text.lines().count().max(1) + 1;
                    prop_assert!(problems.iter().all(|p| (1..=lines).contains(&p.line)), "{problems:?}");
                }
            }
        }
    }
}
