//! Making connections: address, encryption, login.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use feature_core::{Error, ErrorKind, Result};
use futures::future::{FutureExt, join, join_all, select_ok};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{RedisConfig, TlsConfig};
use crate::connect::Role;
use crate::error::{BACKEND, Failure, from_client, from_server};
use crate::joint::Limits;
use crate::resp::{Reply, Request};
use crate::wire::{Sent, Stream, Wire};

/// What every connection of a store has in common.
pub(crate) struct Dialer {
    pub(crate) config: RedisConfig,
    tls: Option<TlsConnector>,
}

impl Dialer {
    /// Reads the files that the settings name.
    pub(crate) fn new(config: RedisConfig) -> Result<Self> {
        config.validate()?;
        let tls = config.tls.as_ref().map(tls).transpose()?;
        Ok(Self { config, tls })
    }

    /// A connection that commands of this role can be sent on.
    pub(crate) async fn dial(&self, role: Role, host: &str, port: u16, name: &str) -> Result<Wire, Failure> {
        let stream = self.stream(host, port).await.map_err(|e| from_client(&e, name, false))?;
        let RedisConfig { batch_chunk: rows, batch_chunk_bytes: bytes, .. } = self.config;
        let wire = Wire::new(stream, Limits { rows, bytes });
        let refused = |error: Arc<io::Error>| from_client(&error, name, false);
        let (needed, told) = self.login(role);
        // All of it is under way before the first reply. A server that is full or shut says so to whatever comes first.
        let send = |command| wire.send(Sent::Request(command));
        let needed: Vec<_> = needed.into_iter().map(send).collect();
        let told: Vec<_> = told.into_iter().map(send).collect();
        let (needed, told) = join(join_all(needed), join_all(told)).await;
        for reply in needed {
            if let Some(Reply::Error(error)) = reply.map_err(refused)?.0.next() {
                return Err(from_server(&error, name));
            }
        }
        for reply in told {
            if let Some(Reply::Error(error)) = reply.map_err(refused)?.0.next() {
                let failure = from_server(&error, name);
                let is_shut = error.starts_with(b"DENIED");
                if is_shut || failure.error.kind() == ErrorKind::Throttled {
                    return Err(failure);
                }
            }
        }
        Ok(wire)
    }

    /// What a new connection says first: what it needs, and what an old server or a user with few rights may refuse.
    fn login(&self, role: Role) -> (Vec<Request>, [Request; 2]) {
        let RedisConfig { username, password, db, sentinel, .. } = &self.config;
        let (username, password, db) = match (role, sentinel) {
            (Role::Sentinel, Some(own)) => (&own.username, &own.password, 0),
            _ => (username, password, *db),
        };
        let mut needed = Vec::new();
        if let Some(password) = password {
            let password = password.expose().as_bytes();
            needed.push(match username {
                Some(username) => Request::of([&b"AUTH"[..], username.as_bytes(), password]),
                None => Request::of([&b"AUTH"[..], password]),
            });
        }
        if db != 0 {
            needed.push(Request::of([&b"SELECT"[..], db.to_string().as_bytes()]));
        }
        if role == Role::ClusterReplica {
            needed.push(Request::of([&b"READONLY"[..]]));
        }
        let about = [("LIB-NAME", "fstore"), ("LIB-VER", env!("CARGO_PKG_VERSION"))];
        let told = about.map(|(what, value)| {
            Request::of([&b"CLIENT"[..], b"SETINFO", what.as_bytes(), value.as_bytes()])
        });
        (needed, told)
    }

    async fn stream(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        // The first of a name's addresses that answers.
        let addresses = tokio::net::lookup_host((host, port)).await?;
        let dialed: Vec<_> = addresses.map(|address| TcpStream::connect(address).boxed()).collect();
        if dialed.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("`{host}` has no address")));
        }
        let (stream, _) = select_ok(dialed).await?;
        stream.set_nodelay(true)?;
        // A peer that is gone without a word is noticed when nothing it was sent is confirmed.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(self.config.response_timeout))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}`: {e}")))?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}

fn tls(settings: &TlsConfig) -> Result<TlsConnector> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when another thread got in first, and then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| unusable(path, e))?;
            }
        }
        None => {
            // Of a system's certificates some are always too old or too new for somebody.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => {
            let own = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| unusable(key, e))?;
            config.with_client_auth_cert(certificates(cert)?, own).map_err(|e| unusable(cert, e))?
        }
        _ => config.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| {
        Error::invalid_argument(format!("cannot read `{}`: {error}", path.display()))
            .with_backend(BACKEND)
            .with_source(error)
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    match found.map_err(|e| unusable(path, e))? {
        found if found.is_empty() => Err(unusable(path, "there is no certificate in it")),
        found => Ok(found),
    }
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::invalid_argument(format!("cannot use `{}`: {error}", path.display())).with_backend(BACKEND)
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::SentinelConfig;

    /// The port of a server that says what it is told to after each command of a connection, the first after the
    /// login being number 0. Nothing that it is sent has a `*` but where a command begins.
    pub(crate) async fn server(
        answer: impl Fn(usize) -> Option<&'static str> + Copy + Send + 'static,
    ) -> u16 {
        let said = move |number: usize| number.checked_sub(2).map_or(Some("+OK"), answer);
        speaks(said).await
    }

    /// The same, with the two commands of the login.
    async fn speaks(answer: impl Fn(usize) -> Option<&'static str> + Copy + Send + 'static) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut commands = 0;
                    while let Ok(byte) = stream.read_u8().await {
                        if byte != b'*' {
                            continue;
                        }
                        if let Some(answer) = answer(commands) {
                            stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
                        }
                        commands += 1;
                    }
                });
            }
        });
        port
    }

    async fn dialed(answer: &'static str) -> Result<Wire, Failure> {
        let port = speaks(move |_| Some(answer)).await;
        Dialer::new(RedisConfig::default()).unwrap().dial(Role::Primary, "127.0.0.1", port, "h:1").await
    }

    #[tokio::test]
    async fn a_server_that_is_full_or_shut_is_refused_and_one_that_knows_no_names_is_not() {
        for (answer, kind) in [
            ("-ERR max number of clients reached", ErrorKind::Throttled),
            ("-DENIED Redis is running in protected mode", ErrorKind::PermissionDenied),
        ] {
            assert_eq!(dialed(answer).await.map(drop).unwrap_err().error.kind(), kind);
        }
        for answer in ["+OK", "-ERR unknown subcommand", "-NOPERM no rights"] {
            assert!(dialed(answer).await.is_ok(), "{answer}");
        }
    }

    #[test]
    fn each_role_has_its_own_login() {
        let sentinel = SentinelConfig {
            service_name: "features".to_owned(),
            username: None,
            password: Some("other".into()),
        };
        let config = RedisConfig {
            username: Some("store".to_owned()),
            password: Some("secret".into()),
            db: 3,
            sentinel: Some(sentinel),
            ..RedisConfig::default()
        };
        let dialer = Dialer::new(config).unwrap();
        let own = ["AUTH store secret", "SELECT 3"];
        for (role, commands) in [
            (Role::Primary, &own[..]),
            (Role::ClusterReplica, &[own[0], own[1], "READONLY"]),
            (Role::Sentinel, &["AUTH other"]),
        ] {
            let packed = |text: &&str| Request::of(text.split(' ').map(str::as_bytes)).into_bytes();
            let (needed, _) = dialer.login(role);
            let needed: Vec<_> = needed.into_iter().map(Request::into_bytes).collect();
            assert_eq!(needed, commands.iter().map(packed).collect::<Vec<_>>(), "{role:?}");
        }
        let plain = Dialer::new(RedisConfig::default()).unwrap();
        assert!(plain.login(Role::Primary).0.is_empty());
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let error = certificates(Path::new("Cargo.toml")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("`Cargo.toml`: there is no certificate in it"), "{error}");
    }
}
