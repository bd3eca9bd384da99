//! What there is, as OpenAPI describes it, and a page to try it.
//!
//! A test asks for each path of the description, and schemathesis for what its schemas allow.

use feature_core::{ErrorKind, ValueType};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store_unified::CellStatus;

use super::{Access, Endpoint, Reply, Request, media};
use crate::calls::{Call, Refusal};
use crate::observe::Route;

/// `GET /openapi.json`.
#[derive(Deserialize)]
pub(super) struct OpenApi {}

impl Endpoint for OpenApi {
    const ROUTE: Route = Route::Docs;
    const OPEN: bool = true;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Open)
    }

    async fn handle(self, _: &mut Call, _: Request) -> Result<Reply, Refusal> {
        Ok(Reply::json(document().to_string()))
    }
}

/// `GET /docs`.
#[derive(Deserialize)]
pub(super) struct Docs {}

impl Endpoint for Docs {
    const ROUTE: Route = Route::Docs;
    const OPEN: bool = true;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Open)
    }

    async fn handle(self, _: &mut Call, _: Request) -> Result<Reply, Refusal> {
        const PAGE: &str = include_str!("docs.html");
        let reply = Reply::new(StatusCode::OK, "text/html; charset=utf-8", PAGE);
        // Nothing is fetched from elsewhere, and no other page shows this one.
        let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      frame-ancestors 'none'";
        Ok(reply.with_header("content-security-policy", policy))
    }
}

/// An operation: method, path, what it does, the schema of its body, and that of its answer.
struct Operation(&'static str, &'static str, &'static str, Option<&'static str>, &'static str);

const OPERATIONS: [Operation; 20] = [
    Operation("post", "/v1/tenants/{tenant}/read", "Read features of any views.", Some("Read"), "Table"),
    Operation(
        "post",
        "/v1/tenants/{tenant}/views/{view}/read",
        "Read features of one view.",
        Some("ReadView"),
        "Table",
    ),
    Operation(
        "post",
        "/v1/tenants/{tenant}/views/{view}/write",
        "Write rows of one view.",
        Some("Write"),
        "Written",
    ),
    Operation(
        "post",
        "/v1/tenants/{tenant}/views/{view}/ingest",
        "Load rows of one view from a body of any length.",
        Some("Stream"),
        "Lines",
    ),
    Operation(
        "post",
        "/v1/tenants/{tenant}/views/{view}/delete",
        "Remove records of a view.",
        Some("Entities"),
        "Deleted",
    ),
    Operation("get", "/v1/tenants/{tenant}/views/{view}/scan", "Stream all rows of a view.", None, "Rows"),
    Operation(
        "get",
        "/v1/tenants/{tenant}/views/{view}/route",
        "Where the records of a view go.",
        None,
        "Destination",
    ),
    Operation(
        "delete",
        "/v1/tenants/{tenant}/views/{view}",
        "Remove all records of a view.",
        None,
        "Removed",
    ),
    Operation(
        "delete",
        "/v1/tenants/{tenant}/entities",
        "Remove records of entities in all views.",
        Some("Entities"),
        "Forgotten",
    ),
    Operation("delete", "/v1/tenants/{tenant}", "Remove all records of a tenant.", None, "Removed"),
    Operation("get", "/v1/views", "The declared feature views.", None, "Views"),
    Operation("get", "/v1/services", "The declared feature services.", None, "Services"),
    Operation("get", "/openapi.json", "This description.", None, "Any"),
    Operation("get", "/docs", "A page to try it.", None, "Page"),
    Operation("post", "/get-online-features", "Feast: read features.", Some("FeastRead"), "FeastTable"),
    Operation("post", "/push", "Feast: write to the view of a push source.", Some("FeastPush"), "Null"),
    Operation("post", "/write-to-online-store", "Feast: write to a view.", Some("FeastWrite"), "Null"),
    Operation("get", "/health", "Feast: whether it answers.", None, "Nothing"),
    Operation("post", "/materialize", "Feast: not done here.", Some("Any"), "Any"),
    Operation("post", "/materialize-incremental", "Feast: not done here.", Some("Any"), "Any"),
];

fn document() -> Value {
    let mut paths = Map::new();
    for Operation(method, path, summary, body, answer) in OPERATIONS {
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation(path, summary, body, answer);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "fstore",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "An online feature store: typed features by tenant, feature view and entity.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
        "security": [{ "bearer": [] }, { "key": [] }, {}],
    })
}

fn operation(path: &str, summary: &str, body: Option<&str>, answer: &str) -> Value {
    let of_path = path.split(['{', '}']).skip(1).step_by(2);
    let mut parameters: Vec<Value> = of_path
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
        })
        .collect();
    if path.ends_with("/scan") {
        parameters
            .push(json!({ "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 0 } }));
    }
    if path.ends_with("/ingest") {
        let of_query =
            |(name, schema): (&str, Value)| json!({ "name": name, "in": "query", "schema": schema });
        parameters.extend(ingest_parameters().map(of_query));
    }
    parameters.push(json!({
        "name": "x-request-timeout", "in": "header", "description": "How long it may take, such as 20ms.",
        "schema": { "type": "string", "pattern": "^[1-9][0-9]{0,8}(us|ms|s|m|h|d)$" },
    }));
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let is_native = path.starts_with("/v1") || matches!(path, "/docs" | "/openapi.json");
    let content = |name: &str| match name {
        "Nothing" => None,
        "Page" => Some(json!({ "text/html": {} })),
        "Rows" => Some(json!({ media::NDJSON: { "schema": reference("Row") }, media::ARROW: {} })),
        "Lines" => Some(json!({ media::NDJSON: { "schema": reference("Line") } })),
        "Table" => Some(json!({ media::JSON: { "schema": reference(name) }, media::ARROW: {} })),
        name => Some(json!({ media::JSON: { "schema": reference(name) } })),
    };
    let good = |description: &str| match content(answer) {
        Some(content) => json!({ "description": description, "content": content }),
        None => json!({ "description": description }),
    };
    let mut responses = Map::new();
    if !path.starts_with("/materialize") {
        responses.insert("200".to_owned(), good("Done."));
    }
    if matches!(answer, "Written" | "Deleted" | "Forgotten") {
        responses.insert("207".to_owned(), good("Some rows failed."));
    }
    let error = match is_native {
        true => json!({ super::problem::PROBLEM: { "schema": reference("Problem") } }),
        false => json!({ media::JSON: {} }),
    };
    for status in statuses(path, is_native) {
        let description = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        responses.insert(status.to_string(), json!({ "description": description, "content": error }));
    }
    let mut operation = json!({
        "summary": summary,
        "operationId": path.trim_start_matches('/').replace(['/', '{', '}', '.', '-'], "_"),
        "parameters": parameters,
        "responses": responses,
    });
    if body == Some("Stream") {
        let languages = [media::NDJSON, media::JSON, "text/csv", "text/tab-separated-values", media::ARROW];
        let content: Map<_, _> =
            languages.into_iter().map(|language| (language.to_owned(), json!({}))).collect();
        operation["requestBody"] = json!({ "required": true, "content": content });
    } else if let Some(body) = body {
        let mut content = json!({ media::JSON: { "schema": reference(body) } });
        if body == "Write" {
            content[media::ARROW] = json!({});
        }
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// What a load is asked to do.
fn ingest_parameters() -> impl Iterator<Item = (&'static str, Value)> {
    let text = || json!({ "type": "string", "minLength": 1 });
    let one_of = |names: &[&str]| json!({ "enum": names });
    [
        ("entity", text()),
        ("timestamp", text()),
        ("timestamp_unit", one_of(&["s", "ms", "us", "ns"])),
        ("timezone", text()),
        ("features", text()),
        ("exclude", text()),
        ("ttl", text()),
        ("mode", one_of(&["merge", "replace"])),
        ("decimal", one_of(&["exact", "float64", "string"])),
        ("null_values", json!({ "type": "string" })),
        ("delimiter", text()),
        ("rejects", json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })),
    ]
    .into_iter()
}

/// The statuses of what can go wrong.
fn statuses(path: &str, is_native: bool) -> Vec<u16> {
    let mut statuses = vec![400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 500, 501, 503, 504];
    if !is_native {
        statuses.push(422);
    }
    if matches!(path, "/health" | "/docs" | "/openapi.json") {
        statuses.retain(|status| !matches!(status, 401 | 403 | 409 | 429));
    }
    statuses
}

fn schemas() -> Value {
    let types: Vec<&str> = ValueType::ALL.iter().map(|of_type| of_type.name()).collect();
    let statuses = [
        CellStatus::Present,
        CellStatus::Null,
        CellStatus::NotFound,
        CellStatus::OutsideMaxAge,
        CellStatus::Failed,
    ]
    .map(CellStatus::name);
    let text = json!({ "type": "string" });
    let count = json!({ "type": "integer", "minimum": 0 });
    let list = |of: &Value| json!({ "type": "array", "items": of });
    let map = |of: &Value| json!({ "type": "object", "additionalProperties": of });
    let join_value = json!({ "type": ["string", "integer"] });
    let entity = json!({ "type": "object", "additionalProperties": join_value, "minProperties": 1 });
    let entities = json!({ "oneOf": [
        { "type": "object", "additionalProperties": list(&join_value), "minProperties": 1 },
        { "type": "array", "items": entity },
    ] });
    let age = json!({ "type": ["string", "integer", "null"], "description": "A duration such as `1d`, or seconds." });
    let include = json!({ "type": "array", "items": { "enum": ["event_times", "statuses"] } });
    let any = json!({});
    let time = json!({ "type": "string", "description": "RFC 3339; without an offset it is UTC." });
    let ttl = json!({ "type": ["string", "integer"], "description": "`never`, a duration such as `7d`, or seconds." });
    let mode = json!({ "enum": ["merge", "replace"] });
    let row_error = json!({
        "type": "object",
        "properties": {
            "row": count, "kind": text, "error": text, "view": text, "feature": text,
            "in_doubt": { "type": "boolean" }, "retryable": { "type": "boolean" },
        },
        "required": ["row", "kind", "error"],
    });
    let strict = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let loose = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    let read = |more: &[(&str, Value)]| {
        let mut properties = json!({
            "entities": entities, "max_age": age, "full_feature_names": { "type": "boolean" }, "include": include,
        });
        more.iter().for_each(|(name, schema)| properties[*name] = schema.clone());
        strict(properties, &["entities"])
    };
    let deleted =
        loose(json!({ "rows": count, "deleted": count, "errors": list(&row_error) }), &["rows", "deleted"]);
    let row = strict(
        json!({ "entity": entity, "features": map(&any), "event_time": time, "ttl": ttl, "mode": mode }),
        &["entity", "features"],
    );
    let columns = map(&list(&any));
    json!({
        "Any": any,
        "Null": { "type": "null" },
        "Entities": strict(json!({ "entities": entities }), &["entities"]),
        "Read": read(&[("service", text.clone()), ("features", list(&text))]),
        "ReadView": read(&[("features", list(&text))]),
        "Write": { "oneOf": [
            strict(json!({ "rows": list(&row), "event_time": time, "ttl": ttl, "mode": mode }), &["rows"]),
            strict(
                json!({ "entities": entities, "features": columns, "event_times": list(&time), "event_time": time,
                        "ttl": ttl, "mode": mode }),
                &["entities", "features"],
            ),
        ] },
        "Table": loose(
            json!({ "rows": count, "errors": list(&row_error), "columns": list(&loose(
                json!({ "name": text, "feature": text, "type": { "enum": types }, "values": list(&any),
                        "statuses": list(&json!({ "enum": statuses })),
                        "event_times": list(&json!({ "type": ["string", "null"] })) }),
                &["name", "feature", "values"],
            )), "from_fallback": list(&loose(json!({ "view": text, "rows": list(&count) }), &["view", "rows"])) }),
            &["rows", "columns"],
        ),
        "Written": loose(
            json!({ "rows": count, "applied": count, "superseded": count, "failed": count,
                    "outcomes": list(&json!({ "enum": ["applied", "superseded", "failed", "in_doubt"] })),
                    "errors": list(&row_error) }),
            &["rows", "applied", "superseded", "failed", "outcomes"],
        ),
        "Deleted": deleted,
        "Forgotten": loose(json!({ "views": map(&deleted) }), &["views"]),
        "Removed": loose(json!({ "removed": count }), &["removed"]),
        "Row": loose(
            json!({ "entity": entity, "features": map(&any), "event_time": time, "expires_at": time }),
            &["entity", "features", "event_time"],
        ),
        "Line": loose(
            json!({ "columns": list(&any), "progress": map(&any), "reject": map(&any), "report": map(&any) }),
            &[],
        ),
        "Destination": loose(json!({ "store": text, "rule": { "type": ["integer", "null"] } }), &["store"]),
        "Views": loose(json!({ "feature_views": list(&map(&any)) }), &["feature_views"]),
        "Services": loose(json!({ "feature_services": list(&map(&any)) }), &["feature_services"]),
        "Problem": loose(
            json!({ "type": text, "title": text, "status": count, "detail": text,
                    "kind": { "type": "string", "examples": [ErrorKind::InvalidArgument.name()] },
                    "in_doubt": { "type": "boolean" }, "retryable": { "type": "boolean" }, "request_id": text,
                    "errors": list(&row_error) }),
            &["type", "title", "status", "detail", "kind"],
        ),
        "FeastRead": loose(
            json!({ "features": list(&text), "feature_service": text, "entities": columns,
                    "full_feature_names": { "type": "boolean" } }),
            &["entities"],
        ),
        "FeastTable": loose(json!({ "results": list(&any), "metadata": any }), &["results", "metadata"]),
        "FeastPush": loose(json!({ "push_source_name": text, "df": columns, "to": text }), &["push_source_name", "df"]),
        "FeastWrite": loose(json!({ "feature_view_name": text, "df": columns }), &["feature_view_name", "df"]),
    })
}
