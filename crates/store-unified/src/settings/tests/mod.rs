//! What is wrong with a file is found, all of it, where it stands.

mod document;
mod generated;
mod policies;
mod texts;

use feature_core::Error;

use super::*;

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
