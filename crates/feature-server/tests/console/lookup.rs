//! An entity looked up.

use std::sync::Arc;

use feature_server::Server;
use serde_json::json;

use super::common::{self, Running};
use super::{LOOKUP, PAGE_BYTES, console, encoded, row, write};

#[tokio::test]
async fn a_look_up_shows_what_a_read_gives_and_why() {
    let server = Running::start("").await;
    let entity = json!({ "customer_id": 1 });
    for (time, features) in [
        ("2026-05-31T00:00:00Z", json!({ "orders": 7, "country": null })),
        ("2026-04-01T00:00:00Z", json!({ "score": 0.5 })),
    ] {
        write(
            &server,
            None,
            "customers",
            json!({ "entity": entity, "features": features, "event_time": time, "ttl": "40d" }),
        )
        .await;
    }
    let page = console(&server).get(LOOKUP).await;
    assert_eq!(page.status, 200, "{}", page.text());
    for (name, expected) in [
        ("orders", "orders present 7 int64 2026-05-31T00:00:00Z 1 d 30d"),
        ("country", "country null string 2026-05-31T00:00:00Z 1 d 30d written as null"),
        (
            "score",
            "score outside_max_age withheld: 0.5 float64 2026-04-01T00:00:00Z 61 d 30d 31 d older than the max age of 30 d",
        ),
        ("seen", "seen not_found timestamp 30d never written to this record"),
    ] {
        assert_eq!(row(&page, name), expected);
    }
    assert!(page.text().contains("Live for 40 d more: its TTL ends at 2026-07-11T00:00:00Z."));
    // The same statuses as the API's own.
    let read = json!({ "entities": [entity], "include": ["event_times"] }).to_string();
    let read = server.client().post("/v1/tenants/acme/views/customers/read", read).await.ok();
    for column in read["columns"].as_array().unwrap_or_else(|| panic!("{read}")) {
        let status = column["statuses"][0].as_str().unwrap_or("present");
        let name = column["name"].as_str().unwrap();
        assert!(row(&page, name).starts_with(&format!("{name} {status}")), "{column}");
    }
    // A read may ask for a shorter max age.
    let page = console(&server).get(&format!("{LOOKUP}&max_age=1h")).await;
    assert!(row(&page, "orders").contains("outside_max_age withheld: 7"));

    let absent = console(&server).get(&LOOKUP.replace("%3D1", "%3D2")).await;
    assert!(
        absent.text().contains("There is no record: never written, deleted, or expired and reclaimed since.")
    );
    assert!(row(&absent, "orders").starts_with("orders not_found int64"));
    for (path, status, part) in [
        ("/console/lookup?tenant=acme&view=nothing&entity=customer_id%3D1", 404, "is not declared"),
        ("/console/lookup?tenant=acme&view=customers&entity=x", 400, "name=value"),
        (
            "/console/lookup?tenant=acme&view=devices&entity=customer_id%3D1",
            400,
            "write the entity as device_id=…",
        ),
        ("/console/lookup?tenant=acme&entity=customer_id%3D1", 400, "say which feature view"),
        ("/console/lookup?tenant=acme&view=a&service=b&entity=customer_id%3D1", 400, "either"),
    ] {
        let reply = console(&server).get(path).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.text().contains(part), "{path}: {}", reply.text());
    }
    server.stop().await;
}

#[tokio::test]
async fn an_expired_record_is_told_from_one_that_never_was() {
    let clock = common::clock();
    // A store that reclaims nothing by itself.
    let backend: Arc<dyn feature_core::OnlineStoreBackend> = common::map_store();
    let serving = common::serving(&common::settings(""), &backend, clock.clone()).await.unwrap();
    let server = Running::of(Server::bind(serving, None).await.unwrap(), backend);
    write(
        &server,
        None,
        "customers",
        json!({ "entity": { "customer_id": 1 }, "features": { "orders": 7 }, "ttl": "1h" }),
    )
    .await;
    clock.advance(std::time::Duration::from_secs(3 * 3_600));
    let page = console(&server).get(LOOKUP).await;
    assert!(
        page.text().contains("Expired: its TTL ended at 2026-06-01T01:00:00Z, 2 h ago."),
        "{}",
        page.text()
    );
    assert_eq!(
        row(&page, "orders"),
        "orders not_found withheld: 7 int64 2026-06-01T00:00:00Z 3 h 30d the record expired 2 h ago"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_service_is_looked_up_across_views() {
    let server = Running::start("").await;
    write(&server, None, "devices", json!({ "entity": { "device_id": "a" }, "features": { "logins": 3 } }))
        .await;
    let entity = "customer_id%3D1%7Cdevice_id%3Da";
    let page =
        console(&server).get(&format!("/console/lookup?tenant=acme&service=fraud&entity={entity}")).await;
    assert_eq!(page.status, 200);
    assert!(row(&page, "logins").starts_with("logins present 3"));
    assert_eq!(row(&page, "customers__country"), "customers__country not_found string 30d no record");
    assert!(page.text().contains("&quot;service&quot;:&quot;fraud&quot;"), "the request for curl");
    server.stop().await;
}

#[tokio::test]
async fn no_value_becomes_markup() {
    let server = Running::start("").await;
    let evil = "<script>alert(1)</script>\"'&";
    write(
        &server,
        None,
        "customers",
        json!({ "entity": { "customer_id": evil }, "features": { "country": evil } }),
    )
    .await;
    let fields = [("tenant", "acme"), ("view", "customers"), ("entity", &*format!("customer_id={evil}"))];
    let page = console(&server).get(&format!("/console/lookup?{}", encoded(&fields))).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(row(&page, "country").contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "shown as text");
    let hostile = [("tenant", evil), ("view", evil), ("entity", evil), ("max_age", evil)];
    let refused = console(&server).get(&format!("/console/lookup?{}", encoded(&hostile))).await;
    for page in [&page, &refused] {
        assert_eq!(page.text().matches("<script").count(), 1, "the page's own, which has an address");
        assert!(page.text().contains("<script src=\"/console/assets/console.js"));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_large_record_is_shown_in_pages_of_bounded_size() {
    let text = format!(
        "stores: {{ main: 'memory:' }}\nserver: {{ listen: '127.0.0.1:0', admin: '127.0.0.1:0' }}\n\
         feature_views:\n  - name: wide\n    entities: [id]\n    features: {{ {} }}",
        (0..1_000).map(|n| format!("feature_{n:04}: string")).collect::<Vec<_>>().join(", ")
    );
    let server = Running::with(&text, common::map_store()).await;
    let features: serde_json::Map<_, _> =
        (0..1_000).map(|n| (format!("feature_{n:04}"), json!("\"<&".repeat(200)))).collect();
    write(&server, None, "wide", json!({ "entity": { "id": 1 }, "features": features })).await;
    let mut seen = 0;
    for page in 1..=25 {
        let path = format!("/console/lookup?tenant=acme&view=wide&entity=id%3D1&page={page}");
        let reply = console(&server).get(&path).await;
        assert!(reply.body.len() <= PAGE_BYTES, "{} bytes", reply.body.len());
        seen += reply.text().matches("<th scope=\"row\">feature_").count();
    }
    assert_eq!(seen, 1_000, "each feature is on one page");
    server.stop().await;
}
