//! Who is let in, and what a page may be made to do.

use feature_server::new_key;
use hyper::Method;
use serde_json::json;

use super::common::{Client, Reply, Running};
use super::{
    DELETE, LOOKUP, console, csrf, deletion, encoded, row, signed_in, start, submit, write, write_customer,
};

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
