//! Settings.

use std::path::PathBuf;
use std::time::Duration;

use feature_core::{Error, Result, Secret, StoreUrl, format_duration};

const DEFAULT_PORT: u16 = 3000;
/// Longest name of a namespace that the server takes, in bytes.
const MAX_NAMESPACE_BYTES: usize = 31;
/// Longest name of a set that the server takes, in bytes.
pub(crate) const MAX_SET_BYTES: usize = 63;

/// Into which sets of the namespace records go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SetLayout {
    /// A set for each feature view of each tenant, named `{tenant}_{view}`. A namespace holds 4,095 sets.
    #[default]
    PerView,
    /// One set of this name for all. Without a limit on the number of views, but a scan or purge of a view
    /// passes over the records of all.
    Single(String),
}

/// How a user proves who they are. Servers of the Community edition know no users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// By a password that the server itself keeps.
    #[default]
    Internal,
    /// By a password that the server has checked elsewhere, by LDAP say. Needs TLS.
    External,
    /// By the certificate of the TLS connection, without user or password.
    Certificate,
}

/// How to encrypt connections. Servers of the Community edition do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file with the certificates of the authorities that vouch for the servers; `None`, the default,
    /// is those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// PEM files with this client's own certificate and its private key, where the servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the servers' certificates, where it is not the host's.
    pub server_name: Option<String>,
}

/// How to reach an Aerospike cluster and how to keep records in it.
///
/// ```
/// use store_aerospike::AerospikeConfig;
/// let url = "aerospike://app:s3cret@as-1:3000,as-2/features?socket_timeout=200ms&max_connections=64".parse()?;
/// let config = AerospikeConfig::from_url(&url)?;
/// assert_eq!(config.hosts, [("as-1".to_owned(), 3000), ("as-2".to_owned(), 3000)]);
/// assert_eq!(config.namespace, "features");
/// assert_eq!(config.max_connections, 64);
/// assert!(!format!("{config:?}").contains("s3cret"));
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AerospikeConfig {
    /// Some servers of the cluster; the others are found through them. Default `localhost:3000`.
    pub hosts: Vec<(String, u16)>,
    /// The namespace, which exists in the servers' configuration. Default `features`.
    pub namespace: String,
    /// The user; `None`, the default, where the servers know no users.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// How the user proves who they are. Default by a password that the server keeps.
    pub auth: Auth,
    /// How to encrypt connections; `None`, the default, is not at all.
    pub tls: Option<TlsConfig>,
    /// Into which sets records go. Default one for each view of each tenant.
    pub layout: SetLayout,
    /// Whether the store opens even if no server can be reached; calls then fail until one can, and fallbacks
    /// serve. Default false.
    pub connect_lazily: bool,
    /// How long connecting may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long to wait for one answer of a server before it is asked, or another one, again. Default 1 s.
    pub socket_timeout: Duration,
    /// How often a row is sent again that a server refused as busy, or whose answer did not come, as long
    /// as the call's deadline allows. Default 8.
    pub max_retries: usize,
    /// Connections to each server that are opened at once and kept. Default 8.
    pub min_connections: usize,
    /// Most connections to each server. Default 128.
    pub max_connections: usize,
    /// Most rows of a request. Default 1,000.
    pub batch_rows: usize,
    /// The racks, nearest first, whose servers reads prefer; none by default.
    pub racks: Vec<usize>,
    /// Whether to use the addresses that servers announce as alternatives, as from outside their network.
    /// Default false.
    pub alternate_addresses: bool,
    /// Whether a delete leaves a tombstone, so that no restart of a server brings the record back. Needs
    /// the Enterprise edition. Default false.
    pub durable_delete: bool,
}

impl Default for AerospikeConfig {
    fn default() -> Self {
        Self {
            hosts: vec![("localhost".to_owned(), DEFAULT_PORT)],
            namespace: "features".to_owned(),
            username: None,
            password: None,
            auth: Auth::default(),
            tls: None,
            layout: SetLayout::default(),
            connect_lazily: false,
            connect_timeout: Duration::from_secs(5),
            socket_timeout: Duration::from_secs(1),
            max_retries: 8,
            min_connections: 8,
            max_connections: 128,
            batch_rows: 1_000,
            racks: Vec::new(),
            alternate_addresses: false,
            durable_delete: false,
        }
    }
}

impl AerospikeConfig {
    /// One server, with the default settings.
    pub fn host(name: impl Into<String>, port: u16) -> Self {
        Self { hosts: vec![(name.into(), port)], ..Self::default() }
    }

    /// Reads `aerospike://user:password@host:port,host2:port/namespace`. Hosts, ports, user and namespace
    /// may be left out. Parameters:
    ///
    /// | | |
    /// |---|---|
    /// | `layout` | `per_view` (default) or `single` |
    /// | `set` | with `layout=single`, the set's name; default `features` |
    /// | `connect_lazily` | default `false` |
    /// | `connect_timeout`, `socket_timeout` | default `5s`, `1s` |
    /// | `max_retries` | default 8 |
    /// | `min_connections`, `max_connections` | to each server; default 8, 128 |
    /// | `batch_rows` | default 1000 |
    /// | `racks` | such as `2` or `2,1`, nearest first |
    /// | `alternate_addresses` | `true` or `false` (default) |
    /// | `durable_delete` | `true` or `false` (default) |
    /// | `auth` | `internal` (default), `external` or `certificate` |
    /// | `tls` | `true` or `false` (default; `true` with any of the next) |
    /// | `tls_ca`, `tls_cert`, `tls_key` | PEM files |
    /// | `tls_name` | the name in the servers' certificates |
    ///
    /// # Errors
    /// `InvalidArgument` for another scheme, and for unknown or impossible parts and parameters.
    pub fn from_url(url: &StoreUrl) -> Result<Self> {
        if url.scheme() != "aerospike" {
            return Err(wrong(format!("`{}:` is not the scheme of Aerospike: aerospike://", url.scheme())));
        }
        let defaults = Self::default();
        let mut params = url.params();
        let layout: Option<String> = params.take("layout")?;
        let set: Option<String> = params.take("set")?;
        let auth: Option<String> = params.take("auth")?;
        let racks: Option<String> = params.take("racks")?;
        let tls: Option<bool> = params.take("tls")?;
        let files = [params.take("tls_ca")?, params.take("tls_cert")?, params.take("tls_key")?];
        let server_name: Option<String> = params.take("tls_name")?;
        let config = Self {
            hosts: match url.hosts() {
                [] => defaults.hosts,
                hosts => {
                    hosts.iter().map(|(name, port)| (name.clone(), port.unwrap_or(DEFAULT_PORT))).collect()
                }
            },
            namespace: match url.path() {
                "" => defaults.namespace,
                path => path.to_owned(),
            },
            username: url.username().map(str::to_owned),
            password: url.password().cloned(),
            auth: match auth.as_deref() {
                None | Some("internal") => Auth::Internal,
                Some("external") => Auth::External,
                Some("certificate") => Auth::Certificate,
                Some(other) => return Err(unknown("auth", other, "internal, external, certificate")),
            },
            tls: tls_of(tls, files, server_name)?,
            layout: match (layout.as_deref(), set) {
                (None | Some("per_view"), None) => SetLayout::PerView,
                (Some("single"), set) => SetLayout::Single(set.unwrap_or_else(|| "features".to_owned())),
                (None | Some("per_view"), Some(_)) => {
                    return Err(wrong("the parameter `set` of the store URL needs layout=single"));
                }
                (Some(other), _) => return Err(unknown("layout", other, "per_view, single")),
            },
            connect_lazily: params.take("connect_lazily")?.unwrap_or(defaults.connect_lazily),
            connect_timeout: params.take_duration("connect_timeout")?.unwrap_or(defaults.connect_timeout),
            socket_timeout: params.take_duration("socket_timeout")?.unwrap_or(defaults.socket_timeout),
            max_retries: params.take("max_retries")?.unwrap_or(defaults.max_retries),
            min_connections: params.take("min_connections")?.unwrap_or(defaults.min_connections),
            max_connections: params.take("max_connections")?.unwrap_or(defaults.max_connections),
            batch_rows: params.take("batch_rows")?.unwrap_or(defaults.batch_rows),
            racks: racks_of(racks.as_deref())?,
            alternate_addresses: params.take("alternate_addresses")?.unwrap_or(defaults.alternate_addresses),
            durable_delete: params.take("durable_delete")?.unwrap_or(defaults.durable_delete),
        };
        params.finish()?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what the types do not rule out.
    pub(crate) fn validate(&self) -> Result<()> {
        let namespace = &self.namespace;
        let second = Duration::from_millis(u64::from(u32::MAX));
        let timeouts = [self.connect_timeout, self.socket_timeout];
        let problem = if self.hosts.is_empty() {
            "there is no host; name at least one server of the cluster".to_owned()
        } else if namespace.is_empty() || namespace.len() > MAX_NAMESPACE_BYTES {
            format!("the namespace `{namespace}` must have 1 to {MAX_NAMESPACE_BYTES} bytes")
        } else if namespace.contains(['/', ':', ';', '=']) || namespace.contains(char::is_control) {
            format!(
                "the namespace `{}` must not contain /, :, ;, = or control characters",
                namespace.escape_debug()
            )
        } else if self.username.is_some() != self.password.is_some() {
            "user and password go together: give both, or neither".to_owned()
        } else if self.auth != Auth::Internal && self.tls.is_none() {
            "external and certificate authentication need TLS: set tls=true".to_owned()
        } else if self.auth == Auth::External && self.username.is_none() {
            "external authentication needs a user and a password".to_owned()
        } else if let Some(timeout) =
            timeouts.into_iter().find(|timeout| timeout.as_millis() == 0 || *timeout > second)
        {
            format!("a timeout of {} is impossible; give milliseconds to days", format_duration(timeout))
        } else if self.max_connections == 0 || self.min_connections > self.max_connections {
            format!(
                "min_connections is {}, max_connections {}; the latter must be positive and not the smaller",
                self.min_connections, self.max_connections
            )
        } else if self.batch_rows == 0 {
            "batch_rows is 0; choose how many rows a request may have, such as 1000".to_owned()
        } else if let SetLayout::Single(set) = &self.layout
            && (set.is_empty()
                || set.len() > MAX_SET_BYTES
                || set.contains([':', ';'])
                || set.contains(char::is_control))
        {
            format!(
                "the set `{}` must have 1 to {MAX_SET_BYTES} bytes without :, ; or control characters",
                set.escape_debug()
            )
        } else {
            return Ok(());
        };
        Err(wrong(problem))
    }

    /// How errors name the cluster: its first hosts.
    pub(crate) fn name(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|(name, port)| format!("{name}:{port}")).collect();
        hosts.join(",")
    }
}

/// In whole milliseconds, at least one: to the client, zero is no limit.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}

fn tls_of(
    tls: Option<bool>,
    [ca_file, cert, key]: [Option<PathBuf>; 3],
    server_name: Option<String>,
) -> Result<Option<TlsConfig>> {
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(wrong("tls_cert and tls_key of the store URL go together: give both, or neither")),
    };
    let config = TlsConfig { ca_file, identity, server_name };
    match tls {
        Some(true) => Ok(Some(config)),
        None => Ok((config != TlsConfig::default()).then_some(config)),
        Some(false) if config == TlsConfig::default() => Ok(None),
        Some(false) => {
            Err(wrong("the store URL has tls=false and parameters of TLS: leave out one or the other"))
        }
    }
}

fn racks_of(text: Option<&str>) -> Result<Vec<usize>> {
    let racks = text.into_iter().flat_map(|text| text.split(',')).map(|rack| rack.trim().parse());
    racks.collect::<Result<_, _>>().map_err(|_| {
        wrong(format!(
            "the parameter `racks` of the store URL is `{}`, not numbers such as 2,1",
            text.unwrap_or_default()
        ))
    })
}

fn unknown(parameter: &str, value: &str, known: &str) -> Error {
    wrong(format!("the parameter `{parameter}` of the store URL is `{value}`; known are {known}"))
}

fn wrong(problem: impl Into<String>) -> Error {
    Error::invalid_argument(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<AerospikeConfig> {
        AerospikeConfig::from_url(&url.parse()?)
    }

    #[test]
    fn urls() {
        let host = AerospikeConfig::host;
        let tls = |tls| AerospikeConfig { tls: Some(tls), ..host("h", 3000) };
        let file = |name: &str| Some(PathBuf::from(name));
        for (url, expected) in [
            ("aerospike:", AerospikeConfig::default()),
            ("aerospike://localhost", AerospikeConfig::default()),
            ("aerospike://localhost:3000/features", AerospikeConfig::default()),
            (
                "aerospike://[::1]:4000/test",
                AerospikeConfig { namespace: "test".to_owned(), ..host("::1", 4000) },
            ),
            (
                "aerospike://h?layout=single&set=all",
                AerospikeConfig { layout: SetLayout::Single("all".to_owned()), ..host("h", 3000) },
            ),
            ("aerospike://h?racks=2,%201", AerospikeConfig { racks: vec![2, 1], ..host("h", 3000) }),
            ("aerospike://h?auth=internal&layout=per_view&tls=false", host("h", 3000)),
            ("aerospike://h?tls=true", tls(TlsConfig::default())),
            (
                "aerospike://h?tls=true&tls_ca=ca.pem",
                tls(TlsConfig { ca_file: file("ca.pem"), ..TlsConfig::default() }),
            ),
            (
                "aerospike://h?tls_ca=ca.pem",
                tls(TlsConfig { ca_file: file("ca.pem"), ..TlsConfig::default() }),
            ),
            (
                "aerospike://h?tls_cert=c.pem&tls_key=k.pem&auth=certificate&tls_name=as",
                AerospikeConfig {
                    auth: Auth::Certificate,
                    ..tls(TlsConfig {
                        identity: file("c.pem").zip(file("k.pem")),
                        server_name: Some("as".to_owned()),
                        ..TlsConfig::default()
                    })
                },
            ),
            (
                "aerospike://u:p@h?auth=external&tls=true",
                AerospikeConfig {
                    username: Some("u".to_owned()),
                    password: Some("p".into()),
                    auth: Auth::External,
                    ..tls(TlsConfig::default())
                },
            ),
            (
                "aerospike://h?connect_lazily=true&connect_timeout=1s&socket_timeout=50ms&max_retries=0&min_connections=0\
                 &max_connections=9&batch_rows=7&alternate_addresses=true&durable_delete=true",
                AerospikeConfig {
                    connect_lazily: true,
                    connect_timeout: Duration::from_secs(1),
                    socket_timeout: Duration::from_millis(50),
                    max_retries: 0,
                    min_connections: 0,
                    max_connections: 9,
                    batch_rows: 7,
                    alternate_addresses: true,
                    durable_delete: true,
                    ..host("h", 3000)
                },
            ),
        ] {
            assert_eq!(config(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (url, problem) in [
            ("redis://h", "`redis:`"),
            ("aerospike://h/a/b", "`a/b`"),
            ("aerospike://h/a-name-that-is-much-too-long-for-it", "31 bytes"),
            ("aerospike://u@h", "user and password go together"),
            ("aerospike://h?layout=many", "known are per_view, single"),
            ("aerospike://h?set=s", "needs layout=single"),
            ("aerospike://h?layout=single&set=a%3Bb", "the set `a;b`"),
            ("aerospike://h?auth=magic", "known are internal, external, certificate"),
            ("aerospike://h?auth=certificate", "need TLS"),
            ("aerospike://h?auth=external&tls=true", "needs a user"),
            ("aerospike://h?tls_cert=c", "go together"),
            ("aerospike://h?tls=false&tls_ca=c", "tls=false"),
            ("aerospike://h?racks=near", "`racks`"),
            ("aerospike://h?socket_timeout=0s", "a timeout of 0s"),
            ("aerospike://h?connect_timeout=1us", "a timeout of 1us"),
            ("aerospike://h?max_connections=0", "max_connections 0"),
            ("aerospike://h?min_connections=9&max_connections=8", "min_connections is 9"),
            ("aerospike://h?batch_rows=0", "batch_rows is 0"),
            ("aerospike://h?timeout=1s", "unknown parameter `timeout`"),
        ] {
            let error = config(url).unwrap_err();
            assert_eq!(error.kind(), feature_core::ErrorKind::InvalidArgument, "{url}");
            assert!(error.message().contains(problem), "{url}: {error}");
        }
    }

    #[test]
    fn limits_hold_to_the_last_byte_and_millisecond() {
        type Change = fn(&mut AerospikeConfig);
        const LONGEST: Duration = Duration::from_millis(4_294_967_295);
        const LONGER: Duration = Duration::from_millis(4_294_967_296);
        let (bytes, marks) = ("must have 1 to 31 bytes", "must not contain /, :, ;, = or control");
        let table: Vec<(Change, Option<&str>)> = vec![
            (|_| {}, None),
            (|c| c.hosts.clear(), Some("there is no host")),
            (|c| c.namespace = "n".repeat(31), None),
            (|c| c.namespace = "n".repeat(32), Some(bytes)),
            (|c| c.namespace.clear(), Some(bytes)),
            (|c| c.namespace = "a/b".to_owned(), Some(marks)),
            (|c| c.namespace = "a:b".to_owned(), Some(marks)),
            (|c| c.namespace = "a;b".to_owned(), Some(marks)),
            (|c| c.namespace = "a=b".to_owned(), Some(marks)),
            (|c| c.namespace = "a\nb".to_owned(), Some(marks)),
            (|c| c.username = Some("u".to_owned()), Some("go together")),
            (|c| c.password = Some("p".into()), Some("go together")),
            (|c| c.connect_timeout = Duration::from_millis(1), None),
            (|c| c.connect_timeout = Duration::from_micros(999), Some("a timeout of 999us")),
            (|c| c.connect_timeout = LONGEST, None),
            (|c| c.connect_timeout = LONGER, Some("a timeout of ")),
            (|c| c.socket_timeout = Duration::from_millis(1), None),
            (|c| c.socket_timeout = Duration::from_micros(999), Some("a timeout of 999us")),
            (|c| c.socket_timeout = LONGEST, None),
            (|c| c.socket_timeout = LONGER, Some("a timeout of ")),
            (|c| (c.min_connections, c.max_connections) = (0, 1), None),
            (|c| (c.min_connections, c.max_connections) = (9, 9), None),
            (|c| (c.min_connections, c.max_connections) = (9, 8), Some("is 9, max_connections 8")),
            (|c| (c.min_connections, c.max_connections) = (0, 0), Some("is 0, max_connections 0")),
            (|c| c.batch_rows = 1, None),
            (|c| c.batch_rows = 0, Some("batch_rows is 0")),
            (|c| c.layout = SetLayout::Single("s".repeat(63)), None),
            (|c| c.layout = SetLayout::Single("s".repeat(64)), Some("must have 1 to 63 bytes")),
            (|c| c.layout = SetLayout::Single(String::new()), Some("the set ``")),
            (|c| c.layout = SetLayout::Single("a:b".to_owned()), Some("the set `a:b`")),
            (|c| c.layout = SetLayout::Single("a;b".to_owned()), Some("the set `a;b`")),
            (|c| c.layout = SetLayout::Single("a\tb".to_owned()), Some("the set `a\\tb`")),
        ];
        for (change, problem) in table {
            let mut config = AerospikeConfig::default();
            change(&mut config);
            let found = config.validate().err();
            let message = found.as_ref().map_or("", Error::message);
            assert_eq!(found.is_some(), problem.is_some(), "{config:?}: {message}");
            assert!(message.contains(problem.unwrap_or_default()), "{message}");
        }
    }

    #[test]
    fn milliseconds_are_whole_and_at_least_one() {
        for (duration, expected) in [
            (Duration::ZERO, 1),
            (Duration::from_micros(1), 1),
            (Duration::from_micros(2_999), 2),
            (Duration::from_secs(1), 1_000),
            (Duration::MAX, u32::MAX),
        ] {
            assert_eq!(millis(duration), expected, "{duration:?}");
        }
    }

    #[test]
    fn a_cluster_is_named_by_its_hosts() {
        assert_eq!(config("aerospike://a,b:4000").unwrap().name(), "a:3000,b:4000");
    }

    #[test]
    fn passwords_are_not_shown() {
        let config = config("aerospike://app:hunter2@h").unwrap();
        assert!(!format!("{config:?} {}", config.name()).contains("hunter2"));
    }
}
