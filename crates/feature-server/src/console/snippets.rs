//! The same request for other tools, to copy.

use std::net::{IpAddr, Ipv4Addr};

use feature_core::EntityKey;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use crate::settings::ServerSettings;

/// What was looked up.
pub(super) enum Of<'a> {
    View(&'a str),
    Service(&'a str),
}

/// The request in each language.
pub(super) fn all(settings: &ServerSettings, tenant: &str, of: &Of<'_>, entity: &EntityKey) -> Markup {
    let each = [
        ("curl", curl(settings, tenant, of, entity)),
        ("fstore", fstore(tenant, of, entity)),
        ("Python", python(tenant, of, entity)),
        ("Rust", rust(tenant, of, entity)),
    ];
    html! {
        @for (number, (name, text)) in each.iter().enumerate() {
            div.snippet {
                h3 #{ "snippet-" (number) } { (name) }
                pre tabindex="0" aria-labelledby={ "snippet-" (number) } { code { (text) } }
                button.quiet type="button" data-copy="" hidden { "Copy" span.sr { " the request for " (name) } }
            }
        }
    }
}

/// A word for the shell, whatever is in it.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text as JSON and Python write it.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// A text as Rust writes it.
fn rust_quoted(text: &str) -> String {
    format!("{text:?}")
}

fn segment(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

fn join_keys(entity: &EntityKey) -> Map<String, Value> {
    entity.join_keys().map(|(name, value)| (name.into_owned(), json!(value))).collect()
}

fn curl(settings: &ServerSettings, tenant: &str, of: &Of<'_>, entity: &EntityKey) -> String {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let mut address = settings.listen;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let tenant = segment(tenant);
    let (path, mut body) = match of {
        Of::View(view) => (format!("{tenant}/views/{}/read", segment(view)), json!({})),
        Of::Service(service) => (format!("{tenant}/read"), json!({ "service": service })),
    };
    body["entities"] = json!([join_keys(entity)]);
    let key = match settings.auth {
        Some(_) => " -H \"authorization: Bearer $FSTORE_KEY\" \\\n ",
        None => "",
    };
    let address = word(&format!("{scheme}://{address}/v1/tenants/{path}"));
    let body = word(&body.to_string());
    format!("curl -sS {address} \\\n {key} -H 'content-type: application/json' \\\n  -d {body}")
}

fn fstore(tenant: &str, of: &Of<'_>, entity: &EntityKey) -> String {
    let of = match of {
        Of::View(view) => format!("--view {}", word(view)),
        Of::Service(service) => format!("--service {}", word(service)),
    };
    format!("fstore --config fstore.yaml get --tenant {} {of} {}", word(tenant), word(entity.canonical()))
}

fn python(tenant: &str, of: &Of<'_>, entity: &EntityKey) -> String {
    let (tenant, entity) = (quoted(tenant), Value::Object(join_keys(entity)).to_string());
    let read = match of {
        Of::View(view) => format!("row = store.sync.read_features({tenant}, {}, {entity})", quoted(view)),
        Of::Service(service) => {
            format!("table = store.sync.read({tenant}, service={}, entities=[{entity}])", quoted(service))
        }
    };
    format!("from feature_store import open_settings\n\nstore = open_settings(\"fstore.yaml\")\n{read}")
}

fn rust(tenant: &str, of: &Of<'_>, entity: &EntityKey) -> String {
    let (tenant, entity) = (rust_quoted(tenant), rust_quoted(entity.canonical()));
    let (request, read) = match of {
        Of::View(view) => (
            "EntityKey",
            format!("let row = store.read_features({tenant}, {}, &entity, None).await?;", rust_quoted(view)),
        ),
        Of::Service(service) => (
            "{EntityKey, FeatureRequest}",
            format!(
                "let request = FeatureRequest::service({tenant}, {}, [entity]);\nlet table = store.read(&request).await?;",
                rust_quoted(service)
            ),
        ),
    };
    format!(
        "use feature_store::{request};\n\nlet store = feature_store::open_settings(\"fstore.yaml\").await?;\n\
         let entity = EntityKey::parse({entity})?;\n{read}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_quotes() {
        let entity = EntityKey::new("id", "it's \"x\" $(rm)").unwrap();
        let settings = ServerSettings::default();
        let view = Of::View("a'b/c d");
        assert_eq!(
            curl(&settings, "t", &view, &entity),
            "curl -sS 'http://127.0.0.1:6566/v1/tenants/t/views/a%27b%2Fc%20d/read' \\\n  -H 'content-type: \
             application/json' \\\n  -d '{\"entities\":[{\"id\":\"it'\\''s \\\"x\\\" $(rm)\"}]}'"
        );
        assert!(fstore("t", &view, &entity).contains(r"--view 'a'\''b/c d' 'id=it'\''s"));
        assert!(python("t", &view, &entity).contains(r#"{"id":"it's \"x\" $(rm)"}"#));
        assert!(rust("t", &Of::Service("s\n"), &entity).contains(r#""s\n", [entity]"#));
    }
}
