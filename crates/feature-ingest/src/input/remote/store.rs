//! From a URL to the store that has the object.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use super::explain::explain;
use crate::error::{IngestError, Result};

/// How often a request is repeated that a server answers with its own failure, or not at all.
const RETRIES: usize = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may be silent in the midst of an answer.
const SILENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// What kind of store a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    S3,
    Google,
    Azure,
    Http,
}

impl Kind {
    fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "s3" | "s3a" => Some(Self::S3),
            "gs" => Some(Self::Google),
            "az" | "azure" | "abfs" | "abfss" => Some(Self::Azure),
            "http" | "https" => Some(Self::Http),
            _ => None,
        }
    }

    /// The prefix of the environment variables that configure it. Others, such as `TOKEN`, are none of its
    /// business although the crate knows them.
    fn prefix(self) -> Option<&'static str> {
        match self {
            Self::S3 => Some("AWS_"),
            Self::Google => Some("GOOGLE_"),
            Self::Azure => Some("AZURE_"),
            Self::Http => None,
        }
    }
}

/// A URL in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) kind: Kind,
    /// The store, as the user knows it: `s3://bucket`.
    pub(super) root: String,
    /// The name of the object there, a prefix that ends in `/`, or a pattern. Literal, not percent-encoded,
    /// except behind HTTP.
    pub(super) key: String,
    /// What else an HTTP URL has, with its question mark. It may be a signature: it is not shown.
    query: String,
}

impl Location {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(IngestError::Request("a URL has `://` behind its scheme".to_owned()));
        };
        let scheme = scheme.to_ascii_lowercase();
        let Some(kind) = Kind::of(&scheme) else {
            return Err(IngestError::Request(format!(
                "`{scheme}` is not a scheme that files are read from; known are s3, gs, az, abfs, abfss, https \
                 and http"
            )));
        };
        let rest = if kind == Kind::Http { rest.split('#').next().unwrap_or_default() } else { rest };
        let (path, query) = match rest.find('?') {
            Some(at) if kind == Kind::Http => rest.split_at(at),
            _ => (rest, ""),
        };
        let (authority, key) = path.split_once('/').unwrap_or((path, ""));
        if authority.contains('@') && kind != Kind::Azure || authority.contains(':') && kind != Kind::Http {
            return Err(IngestError::Request(format!(
                "a {scheme} URL has no user and no password; {}",
                match kind.prefix() {
                    Some(prefix) => format!("credentials are taken from the environment variables {prefix}…"),
                    None => "read the file with a program that can log in, and give it on standard input"
                        .to_owned(),
                }
            )));
        }
        // A web server's URL is checked when the store is made.
        if authority.is_empty() || kind != Kind::Http && !authority.split('@').all(is_name) {
            let missing = if kind == Kind::Http { "host" } else { "bucket" };
            return Err(IngestError::Request(format!("`{scheme}://{authority}` does not name a {missing}")));
        }
        Ok(Self {
            kind,
            root: format!("{scheme}://{authority}"),
            key: key.to_owned(),
            query: query.to_owned(),
        })
    }

    /// The object, as the user knows it.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }

    /// Where an object stands in the store.
    pub(super) fn path(&self, key: &str) -> Result<Path> {
        match self.kind {
            // The store is made for the one URL.
            Kind::Http => Ok(Path::default()),
            _ => Path::parse(key).map_err(|e| {
                IngestError::Request(format!("{} is not the name of an object: {e}", self.name(key)))
            }),
        }
    }
}

/// A store, and a runtime that waits for it. Reading is done on threads that may block, and goes on whatever
/// becomes of the runtime that the load was opened on.
pub(super) struct Store {
    pub(super) kind: Kind,
    pub(super) objects: Box<dyn ObjectStore>,
    /// The same, for what it has. A web server does not say that.
    pub(super) lister: Option<Box<dyn PaginatedListStore>>,
    runtime: Option<Runtime>,
}

impl Store {
    /// The store of a URL, configured by these environment variables.
    pub(super) fn open(
        location: &Location,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Arc<Self>> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Only fails when another thread has just chosen one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let kind = location.kind;
        let settings = settings(kind, variables)?;
        let (objects, lister) = objects(location, &settings).map_err(|e| {
            let why = explain(kind, &e);
            let variables =
                kind.prefix().map_or(String::new(), |prefix| format!(" with the variables {prefix}…"));
            IngestError::Request(format!("{} cannot be opened{variables}: {why}", location.root))
        })?;
        Self::new(kind, objects, lister)
            .map_err(|e| IngestError::Input(format!("cannot wait for {}: {e}", location.root)))
    }

    pub(super) fn new(
        kind: Kind,
        objects: Box<dyn ObjectStore>,
        lister: Option<Box<dyn PaginatedListStore>>,
    ) -> io::Result<Arc<Self>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Arc::new(Self { kind, objects, lister, runtime: Some(runtime) }))
    }

    /// Waits for the store.
    pub(super) fn wait<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(work),
            None => Err(io::Error::other("the store is closed")),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A runtime that waits for its end must not be dropped by a task of another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// This process's environment, as far as it is text.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The variables that concern a kind of store, named as the crate reads them. Those that become parts of URLs
/// are checked here, since the crate takes them for right.
fn settings(kind: Kind, variables: impl Iterator<Item = (String, String)>) -> Result<Vec<(String, String)>> {
    let Some(prefix) = kind.prefix() else { return Ok(Vec::new()) };
    let (mut settings, mut is_plain) = (Vec::new(), false);
    for (name, value) in variables.filter(|(name, value)| name.starts_with(prefix) && !value.is_empty()) {
        let setting = name.to_ascii_lowercase();
        let is_flag = setting.contains("_use_");
        if !is_flag && (setting.contains("endpoint") || setting.ends_with("base_url")) {
            let url = reqwest::Url::parse(&value).ok().filter(reqwest::Url::has_host);
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
            let Some(url) = url else {
                return Err(IngestError::Request(format!(
                    "{name} is not a URL that begins with https:// or http://"
                )));
            };
            is_plain |= url.scheme() == "http" && setting.starts_with("aws_endpoint_url");
        }
        if (setting.ends_with("region") || setting.ends_with("account_name")) && !is_name(&value) {
            return Err(IngestError::Request(format!("{name} is not a name: it has signs that no name has")));
        }
        settings.push((setting, value));
    }
    if is_plain {
        // Who writes such an endpoint means it.
        settings.push(("aws_allow_http".to_owned(), "true".to_owned()));
    }
    Ok(settings)
}

/// Whether a text can be a part of a host.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

type Objects = (Box<dyn ObjectStore>, Option<Box<dyn PaginatedListStore>>);

fn objects(location: &Location, settings: &[(String, String)]) -> object_store::Result<Objects> {
    let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT };
    // An answer may be read for hours: the store of features sets the pace.
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE)
        .with_allow_http(location.root.starts_with("http:"));
    /// A builder with what the settings say; those that it does not know concern others.
    macro_rules! configured {
        ($builder:ty) => {
            settings.iter().fold(
                <$builder>::new().with_client_options(client).with_retry(retry).with_url(&location.root),
                |builder, (name, value)| match name.parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                },
            )
        };
    }
    fn both(store: impl ObjectStore + PaginatedListStore + Clone) -> Objects {
        (Box::new(store.clone()), Some(Box::new(store)))
    }
    Ok(match location.kind {
        Kind::S3 => both(configured!(AmazonS3Builder).build()?),
        Kind::Google => both(configured!(GoogleCloudStorageBuilder).build()?),
        Kind::Azure => both(configured!(MicrosoftAzureBuilder).build()?),
        Kind::Http => {
            let url = format!("{}{}", location.name(&location.key), location.query);
            let builder = HttpBuilder::new().with_client_options(client).with_retry(retry);
            (Box::new(builder.with_url(url).build()?), None)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, String, String) {
        let Location { root, key, query, .. } = Location::parse(url).unwrap();
        (root, key, query)
    }

    #[test]
    fn urls_have_a_root_and_a_literal_key() {
        for (url, root, key, query) in [
            ("s3://lake", "s3://lake", "", ""),
            ("s3a://lake/", "s3a://lake", "", ""),
            ("S3://lake/a/b.csv", "s3://lake", "a/b.csv", ""),
            ("gs://lake/day=%20?/x#1.csv", "gs://lake", "day=%20?/x#1.csv", ""),
            (
                "abfss://box@account.dfs.core.windows.net/a",
                "abfss://box@account.dfs.core.windows.net",
                "a",
                "",
            ),
            ("https://host:8443/a%20b.csv?sig=x/y#z", "https://host:8443", "a%20b.csv", "?sig=x/y"),
        ] {
            assert_eq!(parsed(url), (root.to_owned(), key.to_owned(), query.to_owned()), "{url}");
        }
    }

    #[test]
    fn only_the_variables_of_the_store_are_its_settings() {
        let environment = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000"),
            ("AWS_PROFILE", ""),
            ("GOOGLE_BUCKET", "b"),
            ("TOKEN", "of something else"),
            ("REGION", "of something else"),
        ];
        let of = |kind| {
            let variables = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let settings = settings(kind, variables.into_iter()).unwrap();
            settings.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(of(Kind::S3), ["aws_region", "aws_endpoint_url_s3", "aws_allow_http"]);
        assert_eq!(of(Kind::Google), ["google_bucket"]);
        assert_eq!(of(Kind::Azure), Vec::<String>::new());
        assert_eq!(of(Kind::Http), Vec::<String>::new());
    }

    fn open(url: &str, environment: &[(&str, &str)]) -> Result<Arc<Store>> {
        let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Store::open(&Location::parse(url).unwrap(), variables)
    }

    #[test]
    fn each_kind_of_store_is_made_from_its_environment() {
        let azure = [("AZURE_STORAGE_ACCOUNT_NAME", "account"), ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")];
        let google = [("GOOGLE_SKIP_SIGNATURE", "true")];
        for (url, environment) in [
            ("az://box/a.csv", &azure[..]),
            ("abfss://box@account.dfs.core.windows.net/a.csv", &azure[1..]),
            ("gs://lake/a.csv", &google[..]),
            ("s3://lake/a.csv", &[]),
            ("https://host/a.csv", &[]),
        ] {
            open(url, environment).unwrap();
        }
        let error = open("gs://lake/a.csv", &[("GOOGLE_SERVICE_ACCOUNT_KEY", "s3cr3t")]).err().unwrap();
        assert!(
            error.to_string().contains("not the JSON") && !error.to_string().contains("s3cr3t"),
            "{error}"
        );
    }
}
