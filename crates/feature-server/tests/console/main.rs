//! The console, as a browser asks for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

#[path = "../common/mod.rs"]
mod common;
mod guard;
mod lists;
mod lookup;

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

/// A key as it stands in settings.
fn entry(name: &str, key: &NewKey, tenants: &str, rights: &str) -> String {
    format!("{{ name: {name}, sha256: {}, tenants: {tenants}, rights: {rights} }}", key.hash.to_hex())
}

async fn start() -> (Running, Keys) {
    let key = || new_key().unwrap();
    let keys = Keys { reader: key(), writer: key(), admin: key(), other: key() };
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
