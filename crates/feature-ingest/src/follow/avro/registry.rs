//! A schema registry, as Confluent's and those that are asked as it is.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use feature_core::{Error, ErrorKind, Result, Secret};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::schema::MessageSchema;
use crate::error::IngestError;

const PATIENCE: Duration = Duration::from_secs(5);
/// For how long it is not asked again for a schema that it does not have, or that cannot be used.
const SHUNNED: Duration = Duration::from_secs(60);

/// A registry, and what it has said.
pub(super) struct Registry {
    client: Client,
    base: Url,
    known: Mutex<HashMap<u32, Known>>,
}

#[derive(Clone, Debug)]
enum Known {
    /// A number stands for the same schema for ever.
    Schema(Arc<MessageSchema>),
    /// Why it cannot be used, and since when that is known.
    Unusable(String, Instant),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde::de::IgnoredAny>,
}

impl Registry {
    pub(super) fn new(url: &Secret) -> Result<Self, IngestError> {
        let wrong = || IngestError::Request("the schema registry's URL is none of http or https".to_owned());
        let base: Url = url.expose().parse().map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong());
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Only fails when another thread has just chosen one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = Client::builder().timeout(PATIENCE).build();
        let client =
            client.map_err(|e| IngestError::Request(format!("the schema registry cannot be asked: {e}")))?;
        Ok(Self { client, base, known: Mutex::default() })
    }

    /// The schema of this number, if it is known.
    pub(super) fn schema(&self, id: u32) -> Result<Arc<MessageSchema>, String> {
        match self.known().get(&id) {
            Some(Known::Schema(schema)) => Ok(Arc::clone(schema)),
            Some(Known::Unusable(why, _)) => Err(why.clone()),
            None => Err(format!("schema {id} is not known")),
        }
    }

    /// Asks for the schema of this number, unless it is known.
    ///
    /// # Errors
    /// The registry does not answer, or wants other credentials.
    pub(super) async fn learn(&self, id: u32) -> Result<()> {
        match self.known().get(&id) {
            Some(Known::Schema(_)) => return Ok(()),
            Some(Known::Unusable(_, since)) if since.elapsed() < SHUNNED => return Ok(()),
            _ => {}
        }
        let known = match self.ask(id).await? {
            Ok(schema) => Known::Schema(Arc::new(schema)),
            Err(why) => Known::Unusable(why, Instant::now()),
        };
        self.known().insert(id, known);
        Ok(())
    }

    async fn ask(&self, id: u32) -> Result<Result<MessageSchema, String>> {
        let failed = |kind, what: &dyn fmt::Display| {
            Error::new(kind, format!("schema {id} cannot be had from the schema registry: {what}"))
        };
        // Without its URL, which may have a password.
        let lost = |error: reqwest::Error| failed(ErrorKind::Unavailable, &error.without_url());
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["schemas", "ids", &id.to_string()]);
        }
        let answer = self.client.get(url).send().await.map_err(lost)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(lost)?;
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Err(format!("the schema registry has no schema {id}"))),
            StatusCode::UNAUTHORIZED => return Err(failed(ErrorKind::Unauthenticated, &status)),
            StatusCode::FORBIDDEN => return Err(failed(ErrorKind::PermissionDenied, &status)),
            status => return Err(failed(ErrorKind::Unavailable, &status)),
        }
        let Ok(Registered { schema, schema_type, references }) = serde_json::from_slice(&body) else {
            return Err(failed(ErrorKind::Unavailable, &"its answer is none of a schema registry"));
        };
        let unusable = |why: &dyn fmt::Display| format!("schema {id} cannot be used: {why}");
        Ok(match schema_type.as_deref() {
            None | Some("AVRO") if references.is_empty() => {
                MessageSchema::parse(&schema).map_err(|why| unusable(&why))
            }
            None | Some("AVRO") => Err(unusable(&"it refers to other schemas of the registry")),
            Some(other) => Err(unusable(&format_args!("it is none of Avro, but {other}"))),
        })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u32, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the URL, which may have a password.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("known", &self.known().keys()).finish_non_exhaustive()
    }
}
