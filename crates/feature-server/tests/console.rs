//! The console, as a browser asks for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use common::{Client, Reply, Running};
use feature_server::{NewKey, new_key};
use hyper::Method;
use serde_json::json;

const LOOKUP: &str = "/console/lookup?tenant=acme&view=customers&entity=customer_id%3D1";
const DELETE: &str = "/console/delete?tenant=acme&view=customers&entity=customer_id%3D1";
/// The most that a page may have.
const PAGE_BYTES: usize = 100_000;

struct Keys {
    reader: NewKey,
    writer: NewKey,
    admin: NewKey,
    other: NewKey,
}

async fn start() -> (Running, Keys) {
    let key = || new_key().unwrap();
    let keys = Keys { reader: key(), writer: key(), admin: key(), other: key() };
    let entry = |name: &str, key: &NewKey, tenants: &str, rights: &str| {
        format!("{{ name: {name}, sha256: {}, tenants: {tenants}, rights: {rights} }}", key.hash.to_hex())
    };
    let entries = [
        entry("reader", &keys.reader, "[acme]", "[read]"),
        entry("writer", &keys.writer, "[acme]", "[read, write]"),
        entry("admin", &keys.admin, "['ac*']", "[read, admin]"),
        entry("other", &keys.other, "[other, 'acme-*']", "[read, write, admin]"),
    ];
    let server = Running::start(&format!("  auth: {{ keys: [{}] }}", entries.join(", "))).await;
    (server, keys)
}

fn console(server: &Running) -> Client {
    Client { address: server.admin, headers: Default::default() }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

async fn submit(client: &Client, path: &str, fields: &[(&str, &str)]) -> Reply {
    let client = client.clone().with("content-type", "application/x-www-form-urlencoded");
    client.send(Method::POST, path, encoded(fields)).await
}

fn cookie(reply: &Reply) -> String {
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn signed_in(server: &Running, key: &NewKey) -> Client {
    let reply = submit(&console(server), "/console/sign-in", &[("key", key.key.expose())]).await;
    assert_eq!(reply.status, 303, "{}", reply.text());
    console(server).with("cookie", &cookie(&reply))
}

/// What stands in the hidden field `csrf` of a page.
fn csrf(page: &Reply) -> String {
    let text = page.text();
    let start = text.find("name=\"csrf\" value=\"").unwrap() + 19;
    text[start..start + text[start..].find('"').unwrap()].to_owned()
}

async fn write(server: &Running, key: Option<&NewKey>, view: &str, row: serde_json::Value) {
    let client = key.iter().fold(server.client(), |client, key| client.key(key.key.expose()));
    let path = format!("/v1/tenants/acme/views/{view}/write");
    client.post(&path, json!({ "rows": [row] }).to_string()).await.ok();
}

/// Writes the entity that [`LOOKUP`] asks for, with 7 orders.
async fn write_customer(server: &Running, key: Option<&NewKey>) {
    let row = json!({ "entity": { "customer_id": 1 }, "features": { "orders": 7 } });
    write(server, key, "customers", row).await;
}

/// The form that deletes that entity.
fn deletion(csrf: &str) -> [(&str, &str); 5] {
    [
        ("csrf", csrf),
        ("tenant", "acme"),
        ("view", "customers"),
        ("entity", "customer_id=1"),
        ("scope", "view"),
    ]
}

/// The row of a table that begins with this, without its markup.
fn row(page: &Reply, name: &str) -> String {
    let text = page.text();
    let start =
        text.find(&format!("<th scope=\"row\">{name}</th>")).unwrap_or_else(|| panic!("{name}: {text}"));
    let row = &text[start..start + text[start..].find("</tr>").unwrap()];
    let (mut plain, mut inside) = (String::new(), false);
    for c in row.chars() {
        match c {
            '<' => {
                inside = true;
                plain.push(' ');
            }
            '>' => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

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
    let backend: std::sync::Arc<dyn feature_core::OnlineStoreBackend> = common::map_store();
    let serving = common::serving(&common::settings(""), &backend, clock.clone()).await.unwrap();
    let server = Running::of(feature_server::Server::bind(serving, None).await.unwrap(), backend);
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
async fn every_answer_forbids_what_is_not_the_consoles_own() {
    let (server, keys) = start().await;
    let client = signed_in(&server, &keys.reader).await;
    for path in [
        LOOKUP,
        "/console",
        "/console/sign-in",
        "/console/assets/console.css",
        "/console/assets/console.js",
        DELETE,
    ] {
        let reply = client.get(path).await;
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff", "{path}");
        assert!(!reply.text().contains("style=\"") && !reply.text().contains("onclick"), "{path}");
        assert!(!reply.text().contains("//cdn") && !reply.text().contains("src=\"http"), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_signed_in_sees_nothing_and_comes_back_afterwards() {
    let (server, keys) = start().await;
    for path in [LOOKUP, DELETE] {
        let reply = console(&server).get(path).await;
        assert_eq!(reply.status, 303, "{path}");
        let to = reply.headers["location"].to_str().unwrap();
        assert_eq!(to, format!("/console/sign-in?{}", encoded(&[("next", path)])));
    }
    let reply =
        submit(&console(&server), "/console/sign-in", &[("key", keys.reader.key.expose()), ("next", LOOKUP)])
            .await;
    assert_eq!((reply.status.as_u16(), reply.headers["location"].to_str().unwrap()), (303, LOOKUP));
    let set = reply.headers["set-cookie"].to_str().unwrap();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/console"),
        "{set}"
    );
    assert!(!set.contains("Secure") && !set.contains(keys.reader.key.expose()), "{set}");
    let behind_tls = console(&server).with("x-forwarded-proto", "https");
    let reply = submit(&behind_tls, "/console/sign-in", &[("key", keys.reader.key.expose())]).await;
    assert!(reply.headers["set-cookie"].to_str().unwrap().contains("; Secure"));

    // A made-up session is none, and one that has ended neither.
    assert_eq!(console(&server).with("cookie", "fstore_console=abc").get(LOOKUP).await.status, 303);
    let client = signed_in(&server, &keys.reader).await;
    let page = client.get(LOOKUP).await;
    assert_eq!(page.status, 200);
    assert_eq!(submit(&client, "/console/sign-out", &[("csrf", "x")]).await.status, 403);
    assert_eq!(submit(&client, "/console/sign-out", &[("csrf", &csrf(&page))]).await.status, 303);
    assert_eq!(client.get(LOOKUP).await.status, 303);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_waits_ever_longer_and_is_shown_nowhere() {
    let (server, _) = start().await;
    let wrong = new_key().unwrap();
    // By the clock of the runtime, which goes on when all wait: a machine that is busy changes nothing.
    for wait in [100, 200, 400] {
        let began = tokio::time::Instant::now();
        let reply = submit(&console(&server), "/console/sign-in", &[("key", wrong.key.expose())]).await;
        assert_eq!(began.elapsed().as_millis(), wait);
        assert_eq!(reply.status, 401);
        assert!(reply.text().contains("the credentials are not accepted"));
        assert!(!reply.text().contains(wrong.key.expose()) && !reply.headers.contains_key("set-cookie"));
    }
    server.stop().await;
}

#[tokio::test]
async fn each_page_lets_in_whom_the_api_lets_in() {
    let (server, keys) = start().await;
    write_customer(&server, Some(&keys.writer)).await;
    let table = [
        (&keys.reader, "reader", 200, 403),
        (&keys.writer, "writer", 200, 403),
        (&keys.other, "other", 403, 403),
        (&keys.admin, "admin", 200, 200),
    ];
    for (key, name, look_up, delete) in table {
        let client = signed_in(&server, key).await;
        let page = client.get(LOOKUP).await;
        assert_eq!(page.status, look_up, "{name} looks up");
        assert_eq!(page.text().contains("Delete this entity"), delete == 200, "{name}");
        assert_eq!(client.get(DELETE).await.status, delete, "{name} is asked");
        let reply = submit(&client, "/console/delete", &deletion(&csrf(&page))).await;
        assert_eq!(reply.status, delete, "{name} deletes: {}", reply.text());
    }
    server.stop().await;
}

#[tokio::test]
async fn whether_a_tenant_exists_is_not_told() {
    let (server, keys) = start().await;
    write_customer(&server, Some(&keys.writer)).await;
    let client = signed_in(&server, &keys.other).await;
    let body = |reply: &Reply, tenant: &str| {
        assert_eq!(reply.status, 403);
        reply.text().replace(tenant, "T").replace(&csrf(reply), "")
    };
    let there = body(&client.get(LOOKUP).await, "acme");
    let absent = body(&client.get(&LOOKUP.replace("acme", "nobody")).await, "nobody");
    let no_view = body(&client.get(&LOOKUP.replace("customers", "nothing")).await, "acme");
    assert_eq!(there, absent);
    assert_eq!(there.replace("customers", ""), no_view.replace("nothing", "").replace("customers", ""));
    assert_eq!(client.get(&LOOKUP.replace("acme", "__fstore__")).await.status, 403);
    server.stop().await;
}

#[tokio::test]
async fn a_delete_asks_first_and_takes_no_form_from_elsewhere() {
    let (server, keys) = start().await;
    write_customer(&server, Some(&keys.writer)).await;
    let device = json!({ "entity": { "device_id": 1 }, "features": { "logins": 7 } });
    write(&server, Some(&keys.writer), "devices", device).await;
    let client = signed_in(&server, &keys.admin).await;
    let question = client.get(DELETE).await;
    assert!(question.text().contains("cannot be had back"));
    assert!(row(&client.get(LOOKUP).await, "orders").contains("present 7"), "asking deletes nothing");
    let own = csrf(&question);
    let another = csrf(&signed_in(&server, &keys.admin).await.get(DELETE).await);
    let form = |csrf: &str| encoded(&deletion(csrf));
    let post = |client: Client, body: String| async move {
        client.send(Method::POST, "/console/delete", body).await.status.as_u16()
    };
    assert_eq!(post(client.clone(), form("")).await, 403);
    assert_eq!(post(client.clone(), form(&another)).await, 403, "of another session");
    assert_eq!(post(client.clone().with("origin", "https://evil.example"), form(&own)).await, 403);
    assert_eq!(post(client.clone().with("sec-fetch-site", "cross-site"), form(&own)).await, 403);
    assert_eq!(post(console(&server), form(&own)).await, 303, "without the cookie");
    assert!(row(&client.get(LOOKUP).await, "orders").contains("present 7"), "nothing was deleted");
    let from_here = client.clone().with("origin", "http://localhost").with("sec-fetch-site", "same-origin");
    assert_eq!(post(from_here, form(&own)).await, 200);
    assert!(row(&client.get(LOOKUP).await, "orders").contains("not_found"));

    // In every view of these join keys, and in no other.
    let every = [
        ("csrf", &*own),
        ("tenant", "acme"),
        ("view", "devices"),
        ("entity", "device_id=1"),
        ("scope", "all"),
    ];
    let reply = submit(&client, "/console/delete", &every).await;
    assert!(reply.text().contains("1 record was deleted."), "{}", reply.text());
    server.stop().await;
}

#[tokio::test]
async fn without_sign_in_the_console_is_for_this_machine_alone() {
    let server = Running::start("").await;
    assert_eq!(console(&server).get(LOOKUP).await.status, 200);
    let question = console(&server).get(DELETE).await;
    assert_eq!(submit(&console(&server), "/console/delete", &[("scope", "view")]).await.status, 403);
    let reply = submit(&console(&server), "/console/delete", &deletion(&csrf(&question))).await;
    assert_eq!(reply.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_another_name_is_not_this_console() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Running::start("").await;
    for (host, status) in [
        ("evil.example", "403"),
        ("evil.example:6567", "403"),
        ("127.0.0.1:6567", "200"),
        ("[::1]:1", "200"),
        ("LOCALHOST", "200"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(server.admin).await.unwrap();
        let request = format!("GET /console/lookup HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
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
        ("/console/quotas?q=t0042", 1, "1 rules for tenants"),
        ("/console/quotas?q=t0100", 0, "0 rules for tenants"),
        ("/console/services", 1, "1 feature services"),
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
