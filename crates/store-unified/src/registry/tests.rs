use feature_core::{ErrorKind, ValueType};

use super::*;

fn view(name: &str, features: &[(&str, ValueType)]) -> FeatureView {
    FeatureView {
        name: name.to_owned(),
        description: String::new(),
        entities: vec!["id".to_owned()],
        features: features.iter().map(|(name, of_type)| ((*name).to_owned(), *of_type)).collect(),
        ttl: None,
        max_age: None,
    }
}

fn service(name: &str, features: &[&str]) -> FeatureService {
    FeatureService::new(name, features.iter().map(|text| text.parse().unwrap()))
}

fn names<'a>(registry: &'a Registry, service: &str) -> Vec<&'a str> {
    registry.output_names(service).unwrap().collect()
}

#[test]
fn code_yaml_json_and_serde_declare_the_same() {
    let built = Registry::builder()
        .view(view("a", &[("x", ValueType::Int64), ("y", ValueType::String)]))
        .view(view("b", &[("x", ValueType::Bool)]))
        .service(service("s", &["b:x", "a:*"]))
        .build()
        .unwrap();
    let yaml = "
feature_views:
- {name: a, entities: [id], features: {x: int64, y: string}}
- {name: b, entities: [id], features: {x: bool}}
feature_services:
- name: s
  features:
  - b:x
  - a:*";
    assert_eq!(Registry::from_yaml(yaml).unwrap(), built);
    let json = serde_json::to_string(&built).unwrap();
    assert_eq!(Registry::from_json(&json).unwrap(), built);
    assert_eq!(serde_json::from_str::<Registry>(&json).unwrap(), built);
    assert_eq!(names(&built, "s"), ["b__x", "a__x", "y"]);

    let next = Registry::builder().views(built.views().cloned()).build().unwrap();
    let evolved = built.evolve(&next, Force::Yes).unwrap();
    let stored = serde_json::to_string(&evolved).unwrap();
    assert_eq!(serde_json::from_str::<Registry>(&stored).unwrap().version(), 2);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let error = Registry::builder()
        .views([
            view("customers", &[("orders", ValueType::Int64), ("country", ValueType::String)]),
            view("customers", &[("orders", ValueType::Float64), ("country", ValueType::String)]),
            view("empty", &[]),
            view("same", &[("x", ValueType::Bool)]),
            view("same", &[("x", ValueType::Bool)]),
        ])
        .services([
            service("s", &["customer:orders", "customers:order", "customers:nothing_like_it", "far:away"]),
            service("s", &["same:x"]),
            service("s", &["same:x"]),
            service("t", &["customers:orders", "customers:*"]),
            service("", &[]),
        ])
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let problems: Vec<_> = error.message().split("; ").collect();
    assert_eq!(
        problems,
        [
            "feature view `empty`: it has no features",
            "feature view `customers` is declared twice, with different types: `orders` is int64 and float64",
            "feature view `same` is declared twice",
            "feature service `s`: `customer:orders` is of a feature view that is not declared",
            "did you mean `customers`?",
            "feature service `s`: feature view `customers` has no feature `order`",
            "did you mean `orders`?",
            "feature service `s`: feature view `customers` has no feature `nothing_like_it`",
            "feature service `s`: `far:away` is of a feature view that is not declared",
            "feature service `s` is declared twice",
            "feature service `s` is declared twice",
            "feature service `t`: `customers:orders` is named twice",
            "a feature service has an empty name",
            "feature service ``: it names no feature",
        ]
    );
}

#[test]
fn names_that_clash_even_with_their_view_are_refused() {
    let registry = |services: &[&str]| {
        let x = &[("x", ValueType::Bool)][..];
        let views = [view("a", x), view("b", x), view("c", &[("a__x", ValueType::Bool)])];
        Registry::builder().views(views).service(service("s", services)).build()
    };
    assert_eq!(names(&registry(&["a:x", "c:a__x"]).unwrap(), "s"), ["x", "a__x"]);
    let error = registry(&["a:x", "b:x", "c:a__x"]).unwrap_err();
    assert!(error.message().contains("`a:x` and `c:a__x` would all be called `a__x`"), "{error}");
}

#[test]
fn what_cannot_be_read_says_where() {
    for (text, part) in [
        ("feature_views: []\nfeature_service: []", "feature_service"),
        ("feature_services: []", "feature_views"),
        ("feature_views: []\nfeature_services: [{name: s, features: [orders]}]", "expected view:feature"),
    ] {
        let error = Registry::from_yaml(text).unwrap_err();
        assert!(error.message().contains(part), "{error}");
    }
    assert!(Registry::from_json("{").unwrap_err().message().contains("line 1"));
    let wrong = r#"{"feature_views": [], "feature_services": [{"name": "s", "features": ["v:x"]}]}"#;
    let error = serde_json::from_str::<Registry>(wrong).unwrap_err();
    assert!(error.to_string().contains("not declared"), "{error}");
}

#[test]
fn an_unknown_service_is_refused_with_a_hint() {
    let registry = Registry::builder()
        .view(view("a", &[("x", ValueType::Int64)]))
        .service(service("fraud_model", &["a:x"]))
        .build()
        .unwrap();
    let error = registry.plan_of_service("fraud_modle").unwrap_err();
    assert_eq!(error.message(), "no feature service `fraud_modle` is declared; did you mean `fraud_model`?");
    assert!(registry.plan_of_service("fraud_model").is_ok());
}
