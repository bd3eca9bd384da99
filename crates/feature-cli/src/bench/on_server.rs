//! A load on a server, over HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use feature_core::{EntityKey, FeatureView, FeatureWrite, Result, Secret, format_duration};
use feature_store::unified::FeatureRef;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::measure::Kind;
use super::run::{Load, Sent};
use super::shape::{Shape, Shaped, View};

/// How much longer than the server an answer is waited for.
const ON_THE_WAY: Duration = Duration::from_secs(1);
/// What an answer has in which rows have failed. Inside a text its quotes would be escaped.
const ERRORS: &str = "\"errors\":";

/// A server.
pub(crate) struct Server {
    client: Client,
    base: Url,
}

impl Server {
    /// The server at this URL, which is asked with this key, if there is one.
    ///
    /// # Errors
    /// The URL or the key is none.
    pub(crate) fn new(base: &str, key: Option<&Secret>, timeout: Duration) -> Result<Self, String> {
        let base: Url =
            base.parse().map_err(|_| "the server's URL is none, such as http://localhost:6566")?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err("the server's URL is none of http or https".to_owned());
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let wrong = |_| "the key has characters that no header may have".to_owned();
        headers.insert("x-request-timeout", HeaderValue::from_str(&format_duration(timeout)).map_err(wrong)?);
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(wrong)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Only fails when another thread has just chosen one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client =
            Client::builder().default_headers(headers).timeout(timeout + ON_THE_WAY).tcp_nodelay(true);
        let client = client.build().map_err(|e| format!("there can be no client of HTTP: {e}"))?;
        Ok(Self { client, base })
    }

    /// The views that it has declared.
    ///
    /// # Errors
    /// It does not answer, or not so.
    pub(crate) async fn views(&self) -> Result<Vec<FeatureView>, String> {
        let answer = self.client.get(self.url(&["views"])).send().await.map_err(said)?;
        let text = whole(answer).await?;
        #[derive(Deserialize)]
        struct Views {
            feature_views: Vec<FeatureView>,
        }
        let views: Views =
            serde_json::from_str(&text).map_err(|e| format!("GET /v1/views: no such list: {e}"))?;
        Ok(views.feature_views)
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }
}

/// A load on a server.
pub(crate) struct OnServer {
    shape: Shape,
    server: Server,
    /// The features that are read; `None` is all.
    features: Option<Vec<String>>,
}

pub(crate) struct Call {
    kind: Kind,
    rows: u64,
    url: Url,
    body: String,
}

impl OnServer {
    pub(crate) fn new(shape: Shape, server: Server, features: Option<Vec<String>>) -> Self {
        Self { shape, server, features }
    }

    fn read(&self, entities: &[Vec<EntityKey>]) -> Call {
        let Shape { tenant, views, batch, .. } = &self.shape;
        let (url, features) = match &**views {
            [view] => {
                (self.server.url(&["tenants", tenant, "views", &view.name, "read"]), self.features.clone())
            }
            views => {
                let all = views.iter().map(|view| FeatureRef::all(&view.name).to_string()).collect();
                (self.server.url(&["tenants", tenant, "read"]), Some(all))
            }
        };
        let mut columns: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for row in 0..*batch {
            // One entity has the join keys of all views.
            for (name, value) in object(entities.iter().filter_map(|keys| keys.get(row))) {
                columns.entry(name).or_default().push(value);
            }
        }
        let body = match features {
            Some(features) => json!({ "entities": columns, "features": features }),
            None => json!({ "entities": columns }),
        };
        Call { kind: Kind::Read, rows: (batch * views.len()) as u64, url, body: body.to_string() }
    }

    fn write(&self, view: &View, writes: &[FeatureWrite]) -> Call {
        let row = |write: &FeatureWrite| {
            let features = write.features.iter().map(|(name, value)| (name.to_owned(), value.to_json()));
            json!({ "entity": object([&write.entity_key]), "features": features.collect::<Value>() })
        };
        let body = json!({ "rows": writes.iter().map(row).collect::<Vec<_>>() }).to_string();
        let url = self.server.url(&["tenants", &self.shape.tenant, "views", &view.name, "write"]);
        Call { kind: Kind::Write, rows: writes.len() as u64, url, body }
    }

    async fn post(&self, url: Url, body: String) -> Result<(), String> {
        let answer = self.server.client.post(url).body(body).send().await.map_err(said)?;
        let text = whole(answer).await?;
        match text.contains(ERRORS) {
            true => Err("some rows failed".to_owned()),
            false => Ok(()),
        }
    }
}

impl Load for OnServer {
    type Call = Result<Call>;

    fn prepare(&self, number: u64) -> Self::Call {
        match self.shape.kind(number) {
            Kind::Read => self.shape.reads(number).map(|entities| self.read(&entities)),
            Kind::Write => self.shape.written(number).map(|(view, writes)| self.write(view, &writes)),
        }
    }

    fn kind(&self, number: u64) -> Kind {
        self.shape.kind(number)
    }

    async fn send(&self, call: Self::Call) -> Sent {
        match call {
            Ok(Call { kind, rows, url, body }) => match self.post(url, body).await {
                Ok(()) => Sent { kind, rows, found: rows, failure: None },
                Err(failure) => Sent::failed(kind, failure),
            },
            Err(error) => Sent::failed(Kind::Read, error.to_string()),
        }
    }
}

impl Shaped for OnServer {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn fill(&self, view: &View, writes: Vec<FeatureWrite>) -> Self::Call {
        Ok(self.write(view, &writes))
    }
}

/// An entity as the server takes it.
fn object<'a>(keys: impl IntoIterator<Item = &'a EntityKey>) -> Map<String, Value> {
    let pairs = keys.into_iter().flat_map(EntityKey::join_keys);
    pairs.map(|(name, value)| (name.into_owned(), Value::from(&*value))).collect()
}

/// The answer, if it is a good one.
async fn whole(answer: Response) -> Result<String, String> {
    let status = answer.status();
    let body = answer.bytes().await.map_err(said)?;
    if status.is_success() {
        return String::from_utf8(body.into()).map_err(|_| "the answer is no text".to_owned());
    }
    let problem = serde_json::from_slice::<Value>(&body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str()).unwrap_or_default();
    Err(format!("{status}: {detail}"))
}

/// What went wrong on the way, without the address, which is the same for all.
fn said(error: reqwest::Error) -> String {
    let error = error.without_url();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
