//! Lists, what was counted, and the settings.

use std::sync::{Arc, Mutex};

use feature_server::{NewKey, Server, new_key};
use serde_json::json;
use store_unified::{SettingsFormat, SettingsReader};

use super::common::{self, Reply, Running};
use super::{LOOKUP, PAGE_BYTES, entry, row, signed_in, start, write};

/// Settings with so many views and tenants, and one key for the first hundred tenants.
fn crowded(key: &NewKey) -> String {
    let views: String = (0..10_000)
        .map(|n| format!("  - {{ name: view_{n:05}, entities: [id], features: {{ a: int64 }}, description: 'about {n}' }}\n"))
        .collect();
    let tenants: String = (0..1_000)
        .map(|n| format!("  - {{ tenant: t{n:04}, class: c, quota: {{ reads_per_s: {} }} }}\n", n + 1))
        .collect();
    let keys = format!("{{ name: k, sha256: {}, tenants: ['t00*'], rights: [read] }}", key.hash.to_hex());
    format!(
        "stores: {{ main: 'memory:' }}\nserver: {{ listen: '127.0.0.1:0', admin: '127.0.0.1:0', auth: {{ keys: [{keys}] }} }}\n\
         tenants:\n{tenants}feature_views:\n{views}feature_services:\n  - {{ name: s, features: ['view_00001:*'] }}\n"
    )
}

#[tokio::test]
async fn ten_thousand_views_and_a_thousand_tenants_are_found_by_page_and_search() {
    let key = new_key().unwrap();
    let server = Running::with(&crowded(&key), common::map_store()).await;
    let client = signed_in(&server, &key).await;
    let rows = |page: &Reply| page.text().matches("<th scope=\"row\">").count();
    for (path, count, part) in [
        ("/console/views", 50, "1–50 of 10000 feature views"),
        ("/console/views?page=200", 50, "9951–10000 of 10000"),
        ("/console/views?page=999999", 50, "Page 200 of 200"),
        ("/console/views?q=VIEW_0999", 10, "10 feature views"),
        ("/console/views?q=about+77", 50, "1–50 of 111 feature views"),
        ("/console/views?q=%3Cscript%3E", 0, "0 feature views"),
        // Of a thousand tenants these are the key's own.
        ("/console/quotas", 50, "1–50 of 100 rules for tenants"),
        ("/console/quotas?q=t0042", 1, "1 rule for tenants"),
        ("/console/quotas?q=t0100", 0, "0 rules for tenants"),
        ("/console/services", 1, "1 feature service"),
        ("/console/service?name=s", 1, "view_00001"),
        ("/console/view?name=view_00001", 1, "by default"),
        ("/console/lookup", 0, "view_00000"),
        ("/console/live", 5, "Busiest views"),
        ("/console/freshness", 0, "0 views that were read"),
    ] {
        let page = client.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        assert!(page.body.len() <= PAGE_BYTES, "{path}: {} bytes", page.body.len());
        if part != "by default" {
            assert!(page.text().contains(part), "{path}: no `{part}` in {}", page.text());
        }
        assert_eq!(rows(&page), count, "{path}");
        assert_eq!(page.text().matches("<script").count(), 1, "{path}");
    }
    assert_eq!(client.get("/console/view?name=nothing").await.status, 404);
    assert_eq!(client.get("/console/service?name=nothing").await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn the_route_of_a_view_is_told_for_tenants_that_are_ones_own() {
    let (server, keys) = start().await;
    let client = signed_in(&server, &keys.other).await;
    let own = client.get("/console/view?name=customers&tenant=other").await;
    assert!(own.text().contains("<code>main</code>") && own.text().contains("the default"), "{}", own.text());
    assert!(own.text().contains("30d: older features are withheld") && own.text().contains("fraud"));
    let foreign = client.get("/console/view?name=customers&tenant=acme").await;
    assert!(!foreign.text().contains("<code>main</code>") && foreign.text().contains("PermissionDenied"));
    server.stop().await;
}

#[tokio::test]
async fn what_was_asked_is_shown_by_view_to_those_whose_tenant_it_is() {
    let (server, keys) = start().await;
    let row_of = |id: i64, time: &str| json!({ "entity": { "customer_id": id }, "features": { "orders": id }, "event_time": time });
    write(&server, Some(&keys.writer), "customers", row_of(1, "2026-04-01T00:00:00Z")).await;
    write(&server, Some(&keys.writer), "customers", row_of(2, "2026-05-31T23:59:30Z")).await;
    let reader = server.client().key(keys.reader.key.expose());
    let read = json!({ "entities": { "customer_id": [1, 2, 3] } }).to_string();
    reader.post("/v1/tenants/acme/views/customers/read", read).await.ok();
    let client = signed_in(&server, &keys.reader).await;
    // Look-ups are not counted as what applications ask.
    client.get(LOOKUP).await;
    let live = client.get("/console/live").await;
    assert!(row(&live, "acme").starts_with("acme customers 1 2 ≤ "), "{}", row(&live, "acme"));
    let fresh = client.get("/console/freshness").await;
    // Two of three rows have a record, one of them outside the max age.
    assert_eq!(row(&fresh, "acme"), "acme customers ≤ 1 min &gt; 7 d 30 d 1 1 3");
    let one = client.get("/console/freshness?tenant=acme&view=customers").await;
    assert!(
        one.text().contains("Age of what was served: acme, customers")
            && one.text().contains("class=\"heat\"")
    );

    let other = signed_in(&server, &keys.other).await;
    for path in [
        "/console/live",
        "/console/freshness",
        "/console/freshness?tenant=acme&view=customers",
        "/console/quotas",
    ] {
        let page = other.get(path).await;
        assert_eq!(page.status, 200);
        assert!(!page.text().contains(">acme<") && !page.text().contains("acme, "), "{path}");
    }
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_settings_say_by_now_is_compared_with_what_is_served() {
    let (operator, reader) = (new_key().unwrap(), new_key().unwrap());
    let keys = [
        entry("operator", &operator, "['*']", "[read, admin]"),
        entry("reader", &reader, "[acme]", "[read, admin]"),
    ];
    let loaded = common::settings(&format!("  auth: {{ keys: [{}] }}", keys.join(", ")));
    let file = Arc::new(Mutex::new(loaded.clone()));
    let (backend, kept) = (common::map_store(), Arc::clone(&file));
    let serving = common::serving(&loaded, &backend, common::clock()).await.unwrap().kept_by(move || {
        let reader = SettingsReader::new(SettingsFormat::Yaml);
        Ok(feature_server::settings::read(&reader, &kept.lock().unwrap())?)
    });
    let server = Running::of(Server::bind(serving, None).await.unwrap(), backend);
    let (operator, reader) = (signed_in(&server, &operator).await, signed_in(&server, &reader).await);
    let now = async |text: String| {
        *file.lock().unwrap() = text;
        // What was read a moment ago holds so long.
        tokio::time::advance(std::time::Duration::from_secs(3)).await;
    };
    for client in [&operator, &reader] {
        let page = client.get("/console/settings").await;
        assert!(page.text().contains("What is served is what the settings say"), "{}", page.text());
        assert!(!client.get("/console/views").await.text().contains("/console/settings\">The settings"));
    }

    let changed = loaded
        .replace("'memory:'", "'memory:a-secret'")
        .replace("logins: int64", "logins: float64")
        .replace("name: fraud", "name: scoring")
        .replace("server:\n", "server:\n  limits: { rows: 7 }\n");
    let tenants = "tenants:\n  - { tenant: acme, class: gold }\n  - { tenant: other, class: gold }\n";
    now(changed + tenants).await;
    let page = operator.get("/console/settings").await;
    for (path, part) in [
        ("feature_views.devices", "something else than what is served: devices"),
        ("feature_services.fraud", "served, and not in the settings any more: fraud"),
        ("feature_services.scoring", "in the settings, and not served"),
        ("tenants.acme", "not served"),
        ("tenants.other", "not served"),
        ("stores.main", "something else"),
        ("server.limits.rows", "something else"),
    ] {
        assert!(row(&page, path).contains(part), "{path}: {}", row(&page, path));
    }
    assert!(page.text().contains("7 differences") && !page.text().contains("a-secret"), "{}", page.text());
    let page = reader.get("/console/settings").await;
    assert!(page.text().contains("4 differences") && page.text().contains("tenants.acme"), "{}", page.text());
    for part in ["tenants.other", "stores.main", "server.limits"] {
        assert!(!page.text().contains(part), "{part}");
    }
    assert!(reader.get("/console/services").await.text().contains("differ from what is served, in 4 places"));

    now(format!("{loaded}colour: blue\n")).await;
    let page = operator.get("/console/settings").await;
    assert!(page.text().contains("colour: unknown key"), "{}", page.text());
    let page = reader.get("/console/settings").await;
    assert!(page.text().contains("cannot be used as they are now") && !page.text().contains("colour"));
    assert!(reader.get("/console/views").await.text().contains("cannot be used as they are now"));
    server.stop().await;
}
