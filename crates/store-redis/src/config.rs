//! Settings.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use feature_core::{Error, Params, Result, Secret, StoreUrl};

/// Where Redis listens unless told otherwise.
const REDIS_PORT: u16 = 6379;
/// Where Sentinel listens unless told otherwise.
const SENTINEL_PORT: u16 = 26379;
/// The prefix of every key unless told otherwise.
const KEY_PREFIX: &str = "feast:";

/// How to reach Redis, and how to use it.
///
/// ```
/// use store_redis::RedisConfig;
/// let url = "rediss://app:s%40crat@cache.internal:6380/2?key_prefix=features:&connections=2".parse()?;
/// let config = RedisConfig::from_url(&url)?;
/// assert_eq!((config.host.as_str(), config.port, config.db), ("cache.internal", 6380, 2));
/// assert_eq!(config.key_prefix, "features:");
/// assert!(config.tls.is_some());
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// The server, or the first node or Sentinel to ask. Default `localhost`.
    pub host: String,
    /// Its port. Default 6379, with Sentinel 26379.
    pub port: u16,
    /// More nodes of the cluster, or more Sentinels, to ask where `host` does not answer.
    pub more_hosts: Vec<(String, u16)>,
    /// User of the server's access control list; `None` is the default user.
    pub username: Option<String>,
    /// Password of that user.
    pub password: Option<Secret>,
    /// Number of the database; a cluster has 0 alone. Default 0.
    pub db: u32,
    /// The prefix of every key, so that the store can share its database. Default `feast:`.
    pub key_prefix: String,
    /// Whether `host` is a node of a cluster. Default false.
    pub cluster_mode: bool,
    /// When set, `host` is a Sentinel that knows where the primary is.
    pub sentinel: Option<SentinelConfig>,
    /// When set, connections are encrypted.
    pub tls: Option<TlsConfig>,
    /// Whether the store opens even if no server can be reached; calls then fail until one can, and fallbacks
    /// serve. Default false.
    pub connect_lazily: bool,
    /// How long making a connection may take, its login included. Default 1 s.
    pub connect_timeout: Duration,
    /// For how long a connection may leave requests unanswered before it is given up and replaced; a call
    /// itself ends at its own deadline. Default 2 s.
    pub response_timeout: Duration,
    /// Connections to each node. Default 2.
    pub connections: usize,
    /// Most records that one command touches; other clients' commands run in between. Default 256.
    pub batch_chunk: usize,
    /// About how many bytes one command brings, at most; one record may be larger. Default 128 KiB.
    pub batch_chunk_bytes: usize,
    /// How often a row is tried again after a failure that may pass, within the call's deadline.
    /// Default 5.
    pub max_retries: usize,
    /// Whether reads go to replicas, which lag behind: a read may then miss what was just written, and
    /// serve what was just replaced. Needs a cluster or Sentinel. Default false.
    pub replica_reads: bool,
    /// How many replicas must have confirmed a write before it is acknowledged; one that fewer confirm within
    /// `wait_timeout` is reported as failed, in doubt. With the number of replicas that there are, a failover
    /// loses nothing that was acknowledged; with fewer it may. Default 0.
    pub wait_replicas: usize,
    /// How long to wait for them; the connection takes no other calls meanwhile, so that `connections` should
    /// be more than 2. Default 500 ms.
    pub wait_timeout: Duration,
    /// Whether features exist nowhere else, so that `check` warns of a server that may lose them. Default
    /// false.
    pub source_of_truth: bool,
}

/// How to ask Sentinel for the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelConfig {
    /// The name under which Sentinel watches the primary.
    pub service_name: String,
    /// User for the Sentinels themselves.
    pub username: Option<String>,
    /// Password for the Sentinels themselves.
    pub password: Option<Secret>,
}

/// Whom to trust, and who to be. Files are PEM and read when the store connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates of the authorities to trust; `None` is those of the operating system.
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate, where the server wants one.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub key_file: Option<PathBuf>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: REDIS_PORT,
            more_hosts: Vec::new(),
            username: None,
            password: None,
            db: 0,
            key_prefix: KEY_PREFIX.to_owned(),
            cluster_mode: false,
            sentinel: None,
            tls: None,
            connect_lazily: false,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(2),
            connections: 2,
            batch_chunk: 256,
            batch_chunk_bytes: 128 << 10,
            max_retries: 5,
            replica_reads: false,
            wait_replicas: 0,
            wait_timeout: Duration::from_millis(500),
            source_of_truth: false,
        }
    }
}

impl RedisConfig {
    /// Reads `redis://user:password@host:port/db`, with `rediss:` for an encrypted connection,
    /// `redis-cluster:` for a cluster and `redis-sentinel:` for Sentinels; the latter two take several
    /// hosts, joined with commas. Parameters, each with its default as in the fields of this type:
    ///
    /// | | |
    /// |---|---|
    /// | `username`, `password` | instead of those before the host |
    /// | `db` | instead of the path |
    /// | `key_prefix` | |
    /// | `cluster_mode` | `true` makes `redis:` and `rediss:` a cluster |
    /// | `service_name` | name of the primary that the Sentinels watch |
    /// | `sentinel_username`, `sentinel_password` | for the Sentinels themselves |
    /// | `tls` | `true` encrypts, for a cluster and Sentinels too |
    /// | `tls_ca`, `tls_cert`, `tls_key` | PEM files; each implies `tls=true` |
    /// | `connect_timeout`, `response_timeout`, `wait_timeout` | durations, such as `500ms` |
    /// | `connections`, `batch_chunk`, `batch_chunk_bytes`, `max_retries`, `wait_replicas` | numbers |
    /// | `connect_lazily`, `replica_reads`, `source_of_truth` | `true` or `false` |
    ///
    /// # Errors
    /// `InvalidArgument` for another scheme, and unknown, contradictory or impossible settings.
    pub fn from_url(url: &StoreUrl) -> Result<Self> {
        let (cluster_scheme, sentinel_scheme, tls_scheme) = match url.scheme() {
            "redis" => (false, false, false),
            "rediss" => (false, false, true),
            "redis-cluster" => (true, false, false),
            "redis-sentinel" => (false, true, false),
            other => {
                return Err(Error::invalid_argument(format!(
                    "`{other}:` is not a scheme of Redis: redis:, rediss:, redis-cluster:, redis-sentinel:"
                )));
            }
        };
        let defaults = Self::default();
        let mut params = url.params();
        let username = either("username", url.username().map(str::to_owned), params.take("username")?)?;
        let password = either("password", url.password().cloned(), params.take_secret("password"))?;
        let path = Some(url.path()).filter(|path| !path.is_empty());
        let path = path.map(|path| {
            let wrong =
                |_| Error::invalid_argument(format!("`{path}` in the store URL is not a database number"));
            path.parse().map_err(wrong)
        });
        let db = either("db", path.transpose()?, params.take("db")?)?.unwrap_or(defaults.db);
        let cluster_mode: Option<bool> = params.take("cluster_mode")?;
        let sentinel = SentinelConfig::take(&mut params, sentinel_scheme)?;
        let tls = TlsConfig::take(&mut params, tls_scheme)?;
        let or = |number: Option<usize>, default| number.unwrap_or(default);
        let port = if sentinel_scheme { SENTINEL_PORT } else { REDIS_PORT };
        let mut hosts = url.hosts().iter().map(|(host, own)| (host.clone(), own.unwrap_or(port)));
        let (host, port) = hosts.next().unwrap_or((defaults.host, port));
        let config = Self {
            host,
            port,
            more_hosts: hosts.collect(),
            username,
            password,
            db,
            key_prefix: params.take("key_prefix")?.unwrap_or(defaults.key_prefix),
            cluster_mode: cluster_mode.unwrap_or(cluster_scheme),
            sentinel,
            tls,
            connect_lazily: params.take("connect_lazily")?.unwrap_or(defaults.connect_lazily),
            connect_timeout: params.take_duration("connect_timeout")?.unwrap_or(defaults.connect_timeout),
            response_timeout: params.take_duration("response_timeout")?.unwrap_or(defaults.response_timeout),
            connections: or(params.take("connections")?, defaults.connections),
            batch_chunk: or(params.take("batch_chunk")?, defaults.batch_chunk),
            batch_chunk_bytes: or(params.take("batch_chunk_bytes")?, defaults.batch_chunk_bytes),
            max_retries: or(params.take("max_retries")?, defaults.max_retries),
            replica_reads: params.take("replica_reads")?.unwrap_or(false),
            wait_replicas: or(params.take("wait_replicas")?, defaults.wait_replicas),
            wait_timeout: params.take_duration("wait_timeout")?.unwrap_or(defaults.wait_timeout),
            source_of_truth: params.take("source_of_truth")?.unwrap_or(false),
        };
        params.finish()?;
        if cluster_scheme && !config.cluster_mode {
            return Err(Error::invalid_argument("`redis-cluster:` contradicts cluster_mode=false"));
        }
        config.validate()?;
        Ok(config)
    }

    /// Finds settings that cannot work.
    pub(crate) fn validate(&self) -> Result<()> {
        let many = !self.more_hosts.is_empty();
        let sentinel = self.sentinel.is_some();
        let unnamed = self.sentinel.as_ref().is_some_and(|sentinel| sentinel.service_name.is_empty());
        let tls = self.tls.clone().unwrap_or_default();
        for (wrong, what) in [
            (self.host.is_empty(), "the host is empty"),
            (self.cluster_mode && sentinel, "a cluster has no Sentinels: choose one of the two"),
            (self.cluster_mode && self.db != 0, "a cluster has database 0 alone: leave `db` out"),
            (
                many && !self.cluster_mode && !sentinel,
                "several hosts are those of a cluster or of Sentinels: write redis-cluster: or \
                 redis-sentinel:",
            ),
            (unnamed, "Sentinel needs the name of the primary: set `service_name`"),
            (
                self.replica_reads && !self.cluster_mode && !sentinel,
                "`replica_reads` needs a cluster or Sentinels, which know the replicas",
            ),
            // A hash tag would put every record of a cluster on one node.
            (self.key_prefix.contains(['{', '}']), "`key_prefix` must not contain { or }"),
            (self.key_prefix.len() > 1_024, "`key_prefix` is longer than 1024 bytes"),
            (tls.cert_file.is_some() != tls.key_file.is_some(), "`tls_cert` and `tls_key` go together"),
            (self.connect_timeout.is_zero(), "`connect_timeout` is zero: no connection could be made"),
            (self.response_timeout.is_zero(), "`response_timeout` is zero: no call could succeed"),
            (!(1..=64).contains(&self.connections), "`connections` must be from 1 to 64"),
            (!(1..=10_000).contains(&self.batch_chunk), "`batch_chunk` must be from 1 to 10000"),
            (self.batch_chunk_bytes == 0, "`batch_chunk_bytes` is zero"),
            (self.wait_timeout.is_zero(), "`wait_timeout` is zero: no replica could answer in time"),
        ] {
            if wrong {
                return Err(Error::invalid_argument(format!("the Redis settings: {what}")));
            }
        }
        Ok(())
    }

    /// Every host given, in order.
    pub(crate) fn hosts(&self) -> Vec<(String, u16)> {
        [(self.host.clone(), self.port)].into_iter().chain(self.more_hosts.iter().cloned()).collect()
    }
}

impl SentinelConfig {
    fn take(params: &mut Params, scheme: bool) -> Result<Option<Self>> {
        let service_name = params.take("service_name")?;
        let username = params.take("sentinel_username")?;
        let password = params.take_secret("sentinel_password");
        if !scheme && (service_name.is_some() || username.is_some() || password.is_some()) {
            return Err(Error::invalid_argument(
                "`service_name`, `sentinel_username` and `sentinel_password` in the store URL need the scheme \
                 redis-sentinel:",
            ));
        }
        let service_name = service_name.unwrap_or_default();
        Ok(scheme.then_some(Self { service_name, username, password }))
    }
}

impl TlsConfig {
    fn take(params: &mut Params, scheme: bool) -> Result<Option<Self>> {
        let wanted: Option<bool> = params.take("tls")?;
        let files = Self {
            ca_file: params.take("tls_ca")?,
            cert_file: params.take("tls_cert")?,
            key_file: params.take("tls_key")?,
        };
        let implied = scheme || files != Self::default();
        if implied && wanted == Some(false) {
            return Err(Error::invalid_argument("the store URL asks for TLS and says tls=false"));
        }
        Ok((implied || wanted == Some(true)).then_some(files))
    }
}

/// What one of two places in a URL says.
fn either<T>(what: &str, in_url: Option<T>, in_params: Option<T>) -> Result<Option<T>> {
    match (in_url, in_params) {
        (Some(_), Some(_)) => Err(Error::invalid_argument(format!(
            "the store URL gives `{what}` twice: once as a parameter and once before it"
        ))),
        (one, other) => Ok(one.or(other)),
    }
}

impl FromStr for RedisConfig {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_url(&text.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> RedisConfig {
        url.parse().unwrap()
    }

    #[test]
    fn a_bare_url_is_the_default() {
        assert_eq!(parse("redis://localhost"), RedisConfig::default());
    }

    #[test]
    fn every_setting_can_be_given() {
        let config = parse(
            "redis-sentinel://a:1,b/3?username=u&password=p&key_prefix=x:&service_name=main\
             &sentinel_username=su&sentinel_password=sp&tls=true&tls_ca=ca.pem&tls_cert=c.pem&tls_key=k.pem\
             &connect_lazily=true&connect_timeout=1ms&response_timeout=2ms&connections=3&batch_chunk=4&batch_chunk_bytes=5\
             &max_retries=6&replica_reads=true&wait_replicas=7&wait_timeout=8ms&source_of_truth=true",
        );
        let sentinel = SentinelConfig {
            service_name: "main".to_owned(),
            username: Some("su".to_owned()),
            password: Some("sp".into()),
        };
        let tls = TlsConfig {
            ca_file: Some("ca.pem".into()),
            cert_file: Some("c.pem".into()),
            key_file: Some("k.pem".into()),
        };
        let expected = RedisConfig {
            host: "a".to_owned(),
            port: 1,
            more_hosts: vec![("b".to_owned(), 26379)],
            username: Some("u".to_owned()),
            password: Some("p".into()),
            db: 3,
            key_prefix: "x:".to_owned(),
            cluster_mode: false,
            sentinel: Some(sentinel),
            tls: Some(tls),
            connect_lazily: true,
            connect_timeout: Duration::from_millis(1),
            response_timeout: Duration::from_millis(2),
            connections: 3,
            batch_chunk: 4,
            batch_chunk_bytes: 5,
            max_retries: 6,
            replica_reads: true,
            wait_replicas: 7,
            wait_timeout: Duration::from_millis(8),
            source_of_truth: true,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn clusters() {
        let config = parse("redis-cluster://a,b:7001?tls=true");
        assert_eq!(config.hosts(), [("a".to_owned(), 6379), ("b".to_owned(), 7001)]);
        assert!(config.cluster_mode && config.tls.is_some());
        assert!(parse("rediss://a?cluster_mode=true").cluster_mode);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_name() {
        for (url, named) in [
            ("postgres://h", "redis-sentinel:"),
            ("redis://h?nonsense=1", "nonsense"),
            ("redis://h/x", "`x`"),
            ("redis://h/1?db=2", "db"),
            ("redis://u:hunter2@h?password=hunter2", "password"),
            ("redis://a,b", "redis-cluster:"),
            ("redis://h?service_name=x", "redis-sentinel:"),
            ("redis://h?sentinel_username=x", "redis-sentinel:"),
            ("redis://h?sentinel_password=x", "redis-sentinel:"),
            ("redis-sentinel://h", "service_name"),
            ("redis-sentinel://h?service_name=m&cluster_mode=true", "no Sentinels"),
            ("redis-cluster://h/1", "database 0"),
            ("redis-cluster://h?cluster_mode=false", "cluster_mode"),
            ("rediss://h?tls=false", "tls=false"),
            ("redis://h?tls_ca=ca.pem&tls=false", "tls=false"),
            ("rediss://h?tls_cert=c.pem", "tls_key"),
            ("redis://h?replica_reads=true", "replica_reads"),
            ("redis://h?key_prefix={x}", "key_prefix"),
            ("redis://h?connections=0", "connections"),
            ("redis://h?connections=65", "connections"),
            ("redis://h?connections=many", "connections"),
            ("redis://h?batch_chunk=0", "batch_chunk"),
            ("redis://h?batch_chunk=10001", "batch_chunk"),
            ("redis://h?batch_chunk_bytes=0", "batch_chunk_bytes"),
            ("redis://h?response_timeout=0s", "response_timeout"),
            ("redis://h?connect_timeout=0s", "connect_timeout"),
            ("redis://h?wait_timeout=0s", "wait_timeout"),
        ] {
            let error = url.parse::<RedisConfig>().unwrap_err();
            assert!(error.message().contains(named), "{url}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_can_work_is_taken() {
        for url in [
            "redis://h?connections=64&batch_chunk=10000&batch_chunk_bytes=1",
            "redis-cluster://h?cluster_mode=true&replica_reads=true",
            "redis-sentinel://a,b/1?service_name=m&replica_reads=true",
            "redis://h?cluster_mode=false",
        ] {
            assert!(parse(url).tls.is_none(), "{url}");
        }
        for (url, tls) in
            [("redis://h?tls=false", false), ("redis://h?tls=true", true), ("redis://h?tls_ca=ca.pem", true)]
        {
            assert_eq!(parse(url).tls.is_some(), tls, "{url}");
        }
        let prefix = |length| RedisConfig { key_prefix: "x".repeat(length), ..RedisConfig::default() };
        assert!(prefix(1_024).validate().is_ok() && prefix(1_025).validate().is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = parse("redis-sentinel://u:hunter2@h?service_name=m&sentinel_password=hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
