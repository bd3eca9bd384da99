//! What is wrong with a file is found, all of it, where it stands.

use std::num::NonZeroU32;
use std::time::Duration;

use feature_core::Error;
use proptest::prelude::*;

use super::*;
use crate::wrappers::{
    CircuitSettings, FallbackSettings, HedgeSettings, LimitSettings, Pattern, Quota, RetrySettings,
};

fn env(name: &str) -> Option<String> {
    match name {
        "REDIS_PASSWORD" => Some("hunter2".to_owned()),
        "DEADLINE" => Some("20ms".to_owned()),
        _ => None,
    }
}

fn read(format: SettingsFormat, text: &str) -> Result<Settings, Problems> {
    SettingsReader::new(format).env(&env).read(text)
}

fn yaml(text: &str) -> Result<Settings, Problems> {
    read(SettingsFormat::Yaml, text)
}

/// Each problem as `line: path: message`.
fn said(result: Result<Settings, Problems>) -> Vec<String> {
    result.unwrap_err().iter().map(|problem| format!("{}: {problem}", problem.line)).collect()
}

#[track_caller]
fn says(text: &str, expected: &[&str]) {
    let said = said(yaml(text));
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}\nis not\n{expected}");
    }
}

#[test]
fn every_mistake_is_said_with_its_line_and_path() {
    says(
        "stores:
  main:
    ulr: redis://localhost
  bulk: { url: 'aerospike:' , limits: {} }
  main: embedded:x
routes:
  - { tenant: 'a*b', view: x, store: main }
  - { tenant: acme, store: buk }
  - { tenant: acme, view: customers }
default: main
deadline: 50
max_future_skew: 1 hour
feature_views:
  - name: v
    entities: [a, a]
    features: { x: int, '': bool }
    ttl: 0s
  - { name: v, entities: [], features: {} , descripton: x}
colour: blue
",
        &[
            "2: stores.main.url: it is missing",
            "3: stores.main.ulr: unknown key; did you mean `url`?",
            "4: stores.bulk.limits: unknown key",
            "5: stores.main: the key is there twice; the first is in line 2",
            "7: routes[0].tenant: `a*b` is not a pattern",
            "7: routes[0].view: there is no declared feature view `x`; known are v",
            "8: routes[1].store: there is no store `buk`; did you mean `bulk`?",
            "9: routes[2].store: it is missing",
            "9: routes[2].view: there is no declared feature view `customers`; known are v",
            "10: default: expected a map, found the text `main`",
            "11: deadline: expected a duration, which is a whole number and one of us, ms, s, m, h, d, such as 20ms, found the number 50",
            "12: max_future_skew: expected a duration",
            "16: feature_views[0].features.x: `int` is not a feature type; known are bool",
            "16: feature_views[0].features.: a feature has an empty name",
            "17: feature_views[0].ttl: its ttl is zero",
            "18: feature_views[1].name: feature view `v` is declared twice; the first is in line 14",
            "18: feature_views[1].entities: it has no entities",
            "18: feature_views[1].features: it has no features",
            "18: feature_views[1].descripton: unknown key; did you mean `description`?",
            "19: colour: unknown key; known are",
        ],
    );
}

#[test]
fn no_problem_shows_a_secret() {
    let text = "
stores:
  a: 'redis://:hunter2@h:port'
  b: { url: 'redis://u:hunter2/@h' }
  c: ['redis://:hunter2@h']
  d: { url: { 'x': 'redis://:hunter2@h' }, retry: 'redis://:hunter2@h' }
  'redis://:hunter2@h': { url: 7 }
  e: { url: 'redis://:${REDIS_PASSWORD}@h:port', limit: '${REDIS_PASSWORD}' }
routes:
  - { tenant: '*x${REDIS_PASSWORD}*', view: '*', store: '${REDIS_PASSWORD}' }
  - { tenant: 'redis://:hunter2@*h', store: 'redis://:hunter2@h' }
default: { store: '${REDIS_PASSWORD}' }
deadline: '${REDIS_PASSWORD}'
feature_views:
  - { name: v, entities: [e], features: { x: '${REDIS_PASSWORD}' }, ttl: '${REDIS_PASSWORD}' }
";
    let problems = yaml(text).unwrap_err();
    assert!(problems.iter().count() >= 10, "{problems}");
    assert!(!format!("{problems:?} {problems} {:?}", Error::from(problems.clone())).contains("hunter2"));
    let settings = yaml("stores: {a: 'redis://:${REDIS_PASSWORD}@h'}").unwrap();
    assert_eq!(settings.stores[0].url.password().unwrap().expose(), "hunter2");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn the_environment_may_give_what_is_no_text() {
    let settings = yaml("stores: {a: 'memory:'}\ndeadline: ${DEADLINE}").unwrap();
    assert_eq!(settings.calls.deadline.as_millis(), 20);
    says(
        "stores: {a: 'memory:'}\ndeadline:\n  ${NOPE}",
        &["3: deadline: the environment variable `NOPE` is not set"],
    );
}

#[test]
fn with_one_store_there_is_nothing_to_route() {
    let settings = yaml("stores: {a: 'memory:'}").unwrap();
    let decision = settings.route("t", "v").unwrap();
    assert_eq!((decision.rule, decision.to.store.as_str(), settings.line_of(&decision)), (None, "a", None));
    says("stores: {a: 'memory:', b: 'memory:'}", &["1: default: it is missing: there are several stores"]);
    says("stores: {}", &["1: stores: there is no store"]);
    says("routes: []", &["1: stores: it is missing"]);
}

#[test]
fn a_decision_knows_its_line() {
    let settings = yaml(
        "
stores: {a: 'memory:', b: 'memory:', c: 'memory:'}
routes:
- {tenant: acme, view: 'x*', store: b}
- tenant: acme
  store: c
default: {store: a}
",
    )
    .unwrap();
    for (tenant, view, store, line) in
        [("acme", "xy", "b", 4), ("acme", "y", "c", 5), ("other", "xy", "a", 7)]
    {
        let decision = settings.route(tenant, view).unwrap();
        assert_eq!((decision.to.store.as_str(), settings.line_of(&decision)), (store, Some(line)));
    }
    assert!(settings.route("", "v").is_err());
}

#[test]
fn a_route_behind_one_that_has_all_of_it_is_a_mistake() {
    let routes = |first: &str, second: &str| {
        yaml(&format!("stores: {{a: 'memory:'}}\nroutes:\n- {{{first}, store: a}}\n- {{{second}, store: a}}"))
    };
    for (first, second) in [
        ("tenant: '*'", "tenant: x, view: y"),
        ("tenant: eu-*", "tenant: eu-1"),
        ("tenant: eu-*", "tenant: eu-1*, view: v"),
        ("view: v", "view: v"),
    ] {
        let said = said(routes(first, second));
        assert_eq!(
            said,
            ["4: routes[1]: it never counts, since the route of line 3 has all that it is about"]
        );
    }
    for (first, second) in
        [("tenant: eu-1", "tenant: eu-*"), ("tenant: x, view: v", "tenant: x"), ("view: v", "tenant: x")]
    {
        assert!(routes(first, second).is_ok(), "{first} {second}");
    }
}

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
fn anchors_are_understood() {
    let text = "
feature_views:
- {name: a, entities: &entities [e], features: &features {x: bool}}
- {name: b, entities: *entities, features: *features}
stores: {a: 'memory:'}
";
    let registry = yaml(text).unwrap().registry;
    let declared = Registry::from_yaml(
        "feature_views: [{name: a, entities: [e], features: {x: bool}}, {name: b, entities: [e], features: {x: bool}}]",
    );
    assert_eq!(registry, Some(declared.unwrap()));
}

#[test]
fn policies_have_defaults_and_bounds() {
    let settings = yaml(
        "
stores:
  a: {url: 'memory:', retry: {}, hedge: {after: 3ms}, circuit: {in_a_row: 5}, limit: {max_queued: 0}}
  b: {url: 'memory:', retry: {min_delay: 1s}}
default: {store: a, fallback: {store: b, after: 8ms}}
",
    )
    .unwrap();
    let a = &settings.stores[0];
    assert_eq!(a.retry, Some(RetrySettings::default()));
    assert_eq!(a.hedge, Some(HedgeSettings { after: Duration::from_millis(3), ..Default::default() }));
    assert_eq!(a.circuit, Some(CircuitSettings { in_a_row: 5, ..Default::default() }));
    assert_eq!(a.limit, Some(LimitSettings { max_queued: 0, ..Default::default() }));
    let b = &settings.stores[1];
    assert_eq!((b.hedge, b.circuit, b.limit), (None, None, None));
    assert_eq!(b.retry.unwrap().max_delay, Duration::from_secs(1), "no shorter than the shortest");
    let fallback = FallbackSettings { after: Duration::from_millis(8) };
    assert_eq!(settings.default, Destination::new("a").with_fallback("b", fallback));

    says(
        "stores:
  a:
    url: 'memory:'
    retry:
      max_retries: 0
      min_delay: 10ms
      max_delay: 5ms
      max_extra: 2
    hedge: {after: 0s, max_extra: '5%'}
    circuit:
      in_a_row: ten
      failure_rate: 0
      slow: 0
      probe_every: 1
      probes: 0
    limit: {max_in_flight: 0, max_queued: -1}
default:
  store: a
  fallback:
    store: a
    after: 8
routes:
- {store: a, fallback: {stor: a}}
",
        &[
            "5: stores.a.retry.max_retries: expected a whole number from 1 to 100, found the number 0",
            "7: stores.a.retry.max_delay: expected a duration of at least 10ms",
            "8: stores.a.retry.max_extra: expected a number from 0 to 1, found the number 2",
            "9: stores.a.hedge.after: expected a duration above zero",
            "9: stores.a.hedge.max_extra: expected a number from 0 to 1, found the text `5%`",
            "11: stores.a.circuit.in_a_row: expected a whole number from 1 to 1000000, found the text `ten`",
            "12: stores.a.circuit.failure_rate: expected a number from 0.01 to 1",
            "13: stores.a.circuit.slow: expected a duration",
            "14: stores.a.circuit.probe_every: expected a duration",
            "15: stores.a.circuit.probes: expected a whole number",
            "16: stores.a.limit.max_in_flight: expected a whole number from 1",
            "16: stores.a.limit.max_queued: expected a whole number from 0",
            "20: default.fallback.store: a store cannot be its own fallback",
            "21: default.fallback.after: expected a duration",
            "23: routes[0].fallback.store: it is missing",
            "23: routes[0].fallback.stor: unknown key; did you mean `store`?",
        ],
    );
}

#[test]
fn tenants_have_classes_and_quotas() {
    let settings = yaml(
        "
stores: {a: 'memory:'}
tenants:
- {tenant: acme, class: gold, quota: {reads_per_s: 7, burst: 2s}}
- {tenant: 'eu-*'}
",
    )
    .unwrap();
    let quota = Quota { reads_per_s: NonZeroU32::new(7), burst: Duration::from_secs(2), ..Quota::default() };
    let rule = |tenant: Pattern, class: &str, quota| TenantRule { tenant, class: class.to_owned(), quota };
    assert_eq!(
        settings.tenants,
        [
            rule(Pattern::Name("acme".to_owned()), "gold", quota),
            rule(Pattern::Prefix("eu-".to_owned()), "default", Quota::default())
        ]
    );
    says(
        "stores: {a: 'memory:'}
tenants:
- tenant: '*'
  quota:
    reads_per_s: 0
    writes_per_s: -1
    rows_per_s: 5000000000
    burst: 0s
    rows: 5
- {tenant: acme, class: ''}
- {tenant: other}
",
        &[
            "5: tenants[0].quota.reads_per_s: expected a whole number from 1 to 4294967295, found the number 0",
            "6: tenants[0].quota.writes_per_s: expected",
            "7: tenants[0].quota.rows_per_s: expected",
            "8: tenants[0].quota.burst: expected a duration from 1us to 1d",
            "9: tenants[0].quota.rows: unknown key; known are",
            "10: tenants[1]: it never counts, since the rule of line 3",
            "10: tenants[1].class: expected a name, found an empty text",
            "11: tenants[2]: it never counts",
        ],
    );
}

#[test]
fn a_route_names_a_declared_view() {
    let text = |views: &str| format!("stores: {{a: 'memory:'}}\nroutes: [{{view: w, store: a}}]\n{views}");
    assert!(yaml(&text("")).unwrap().registry.is_none());
    let declared = "feature_views: [{name: v, entities: [e], features: {x: bool}}]";
    says(&text(declared), &["2: routes[0].view: there is no declared feature view `w`; known are v"]);
    says(
        &text("feature_views: []"),
        &["2: routes[0].view: there is no declared feature view `w`; there is none"],
    );
}

#[test]
fn services_are_checked_feature_by_feature() {
    says(
        "stores: {a: 'memory:'}
feature_views:
- {name: a, entities: [e], features: {x: bool, y: bool}}
- {name: b, entities: [e], features: {x: nonsense}}
feature_services:
- name: s
  features:
  - a:x
  - a:z
  - a
  - c:x
  - b:anything
- {name: s, features: []}
- {features: ['a:x'], name: 7}
",
        &[
            "4: feature_views[1].features.x: `nonsense` is not a feature type",
            "9: feature_services[0].features[1]: feature view `a` has no feature `z`",
            "10: feature_services[0].features[2]: `a` does not name a feature",
            "11: feature_services[0].features[3]: `c:x` is of a feature view that is not declared",
            "13: feature_services[1].name: feature service `s` is declared twice; the first is in line 6",
            "14: feature_services[2].name: expected a text: put it in quotes, found the number 7",
        ],
    );
    says(
        "stores: {a: 'memory:'}
feature_views:
- {name: a, entities: [e], features: {x: bool, y: bool}}
feature_services:
- {name: s, features: []}
- name: t
  features: ['a:*', 'a:x']
",
        &[
            "5: feature_services[0].features: it names no feature",
            "7: feature_services[1].features: `a:x` is named twice",
        ],
    );
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
        format!("{}\nx.{}=1", format!("[{}]", ["a"; 30].join(".")), ["a"; 30].join(".")),
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
