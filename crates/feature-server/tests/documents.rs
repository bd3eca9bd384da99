//! `docs/api.md` and `/openapi.json` say what the server does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use common::{Running, map_store};
use hyper::Method;
use serde_json::{Value, json};

const API: &str = include_str!("../../../docs/api.md");

/// The blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    API.split(&format!("```{language}\n")).skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

#[tokio::test]
async fn every_example_is_answered_as_the_document_says() {
    let views = blocks("yaml").remove(0);
    let settings =
        format!("stores: {{ main: 'memory:' }}\nserver: {{ listen: '127.0.0.1:0', admin: off }}\n{views}");
    let server = Running::with(&settings, map_store()).await;
    let examples = blocks("http");
    assert!(examples.len() > 12);
    for example in examples {
        let parts: Vec<&str> = example.trim().split("\n\n").collect();
        let (head, body, answer) = match parts[..] {
            [head, body, answer] => (head, body, answer),
            [head, answer] => (head, "", answer),
            _ => panic!("{example}"),
        };
        let (method, path) = head.split_once(' ').unwrap();
        let client = server.client().with("content-type", "application/json");
        let reply = client.send(method.parse::<Method>().unwrap(), path, body.to_owned()).await;
        let (status, expected) = answer.split_once('\n').unwrap();
        assert_eq!(reply.status.as_str(), status, "{head}: {}", reply.text());
        // A stream has an answer a line.
        let values = |text: &str| -> Vec<Value> {
            serde_json::Deserializer::from_str(text).into_iter().map(Result::unwrap).collect()
        };
        let mut expected = values(expected);
        if expected[0].get("request_id").is_some() {
            expected[0]["request_id"] = json!(reply.headers["x-request-id"].to_str().unwrap());
        }
        assert_eq!(values(reply.text()), expected, "{head}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_path_of_the_description_is_there_and_takes_its_method() {
    let server = Running::start("").await;
    let client = server.client();
    let api = client.get("/openapi.json").await.ok();
    let mut operations = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let path = path.replace("{tenant}", "acme").replace("{view}", "devices");
            let client = client.clone().with("content-type", "application/json");
            let reply = client.send(method.to_uppercase().parse().unwrap(), &path, "{}").await;
            let status = reply.status.as_str();
            assert!(!matches!(status, "404" | "405"), "{method} {path}: {}", reply.text());
            assert!(
                operation["responses"].get(status).is_some(),
                "{method} {path}: {status} is not described"
            );
        }
    }
    assert_eq!(operations, 20);
    let page = client.get("/docs").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(
        !page.text().contains("http://") && !page.text().contains("https://"),
        "something is fetched from elsewhere"
    );
    server.stop().await;
}

#[tokio::test]
async fn every_reference_of_the_description_leads_somewhere() {
    let server = Running::start("").await;
    let api = server.client().get("/openapi.json").await.ok();
    let text = api.to_string();
    let references =
        text.split("\"$ref\":\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut seen = 0;
    for reference in references {
        assert!(api["components"]["schemas"].get(reference).is_some(), "{reference}");
        seen += 1;
    }
    assert!(seen > 20);
    server.stop().await;
}
