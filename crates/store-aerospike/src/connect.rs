//! Connecting: the client's settings, TLS, and what is learnt of the servers.

use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use aerospike::{AuthMode, Client, ClientPolicy, Host, TlsPolicy};
use feature_core::{Error, ErrorKind, Result, Secret, format_duration};
use futures::FutureExt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{AerospikeConfig, Auth, TlsConfig, millis};
use crate::error::{BACKEND, from_client};
use crate::info::Facts;

/// A client that closes when it is dropped; by itself it would keep its connections as long as the process
/// runs.
pub(crate) struct Connection(Client);

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The first step tells the client's own task to end, the rest only waits for it.
        let _ = self.0.close().now_or_never();
    }
}

/// Connects, and learns the limits of the namespace.
pub(crate) async fn connect(config: &AerospikeConfig) -> Result<(Connection, Facts)> {
    config.validate()?;
    let policy = policy(config)?;
    let server_name = config.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let host = |(name, port): &(String, u16)| Host::new_tls(name, server_name.unwrap_or_default(), *port);
    let hosts: Vec<Host> = config.hosts.iter().map(host).collect();
    // The client bounds each step, not the whole.
    let connecting = tokio::time::timeout(config.connect_timeout, async {
        let client = Client::new(&policy, &hosts).await.map_err(|error| unreachable(config, &error))?;
        let client = Connection(client);
        let facts = Facts::ask(&client, config).await?;
        Ok((client, facts))
    });
    connecting.await.unwrap_or_else(|_| {
        let waited = format_duration(config.connect_timeout);
        let message = format!("no connection to {} within {waited}; check host and port", config.name());
        Err(Error::new(ErrorKind::Unavailable, message).with_backend(BACKEND))
    })
}

fn unreachable(config: &AerospikeConfig, error: &aerospike::Error) -> Error {
    let error = from_client(error, &config.namespace);
    let message = format!("{}: {}; check host and port", config.name(), error.message());
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Internal => {
            Error::new(ErrorKind::Unavailable, message).with_backend(BACKEND).with_source(error)
        }
        _ => error,
    }
}

fn policy(config: &AerospikeConfig) -> Result<ClientPolicy> {
    let mut policy = ClientPolicy::default();
    let password = config.password.as_ref().map(Secret::expose).unwrap_or_default().to_owned();
    policy.auth_mode = match (&config.username, config.auth) {
        (_, Auth::Certificate) => AuthMode::Pki,
        (None, _) => AuthMode::None,
        (Some(user), Auth::Internal) => AuthMode::Internal(user.clone(), password),
        (Some(user), Auth::External) => AuthMode::External(user.clone(), password),
    };
    policy.tls_policy = config.tls.as_ref().map(tls).transpose()?;
    policy.timeout = millis(config.socket_timeout);
    policy.connect_timeout = millis(config.connect_timeout);
    policy.login_timeout = millis(config.connect_timeout);
    policy.min_conns_per_node = config.min_connections;
    policy.max_conns_per_node = config.max_connections;
    // The client would leave a server alone for a second when it has refused a hundred calls, as busy with
    // one hot record, say: then that record would shut out all others.
    policy.max_error_rate = 0;
    policy.use_services_alternate = config.alternate_addresses;
    policy.rack_ids = (!config.racks.is_empty()).then(|| config.racks.clone());
    Ok(policy)
}

fn tls(config: &TlsConfig) -> Result<TlsPolicy> {
    let wrong =
        |what: &dyn std::fmt::Display| Error::invalid_argument(format!("TLS: {what}")).with_backend(BACKEND);
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        Some(file) => {
            for certificate in certificates(file).map_err(|error| wrong(&error))? {
                roots.add(certificate).map_err(|error| wrong(&format!("{}: {error}", file.display())))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(wrong(&"there is no certificate of an authority to check the servers by; set tls_ca"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_root_certificates(roots);
    let client = match &config.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert).map_err(|error| wrong(&error))?;
            let key_error = |error: &dyn std::fmt::Display| wrong(&format!("{}: {error}", key.display()));
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| key_error(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| wrong(&error))?
        }
    };
    Ok(TlsPolicy::new(client))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, io::Error> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", file.display()));
    let found = CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    if found.is_empty() { Err(failed(&"has no certificate")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_client_gets_all_settings() {
        let mut config = AerospikeConfig {
            connect_timeout: Duration::from_millis(700),
            socket_timeout: Duration::from_millis(70),
            min_connections: 3,
            max_connections: 5,
            racks: vec![2, 1],
            alternate_addresses: true,
            ..AerospikeConfig::default()
        };
        let mut expected = ClientPolicy {
            auth_mode: AuthMode::None,
            timeout: 70,
            connect_timeout: 700,
            login_timeout: 700,
            min_conns_per_node: 3,
            max_conns_per_node: 5,
            max_error_rate: 0,
            use_services_alternate: true,
            rack_ids: Some(vec![2, 1]),
            ..ClientPolicy::default()
        };
        assert_eq!(policy(&config).unwrap(), expected);
        config.racks = Vec::new();
        config.alternate_addresses = false;
        expected.rack_ids = None;
        expected.use_services_alternate = false;
        assert_eq!(policy(&config).unwrap(), expected);
    }

    #[test]
    fn users_prove_who_they_are_as_the_settings_say() {
        let mode = |username: Option<&str>, auth| {
            let (username, password) = (username.map(str::to_owned), username.map(|_| "secret".into()));
            let config = AerospikeConfig { username, password, auth, ..AerospikeConfig::default() };
            policy(&config).unwrap().auth_mode
        };
        let (user, password) = (|| "app".to_owned(), || "secret".to_owned());
        assert!(mode(None, Auth::Internal) == AuthMode::None);
        assert!(mode(Some("app"), Auth::Internal) == AuthMode::Internal(user(), password()));
        assert!(mode(Some("app"), Auth::External) == AuthMode::External(user(), password()));
        assert!(mode(None, Auth::Certificate) == AuthMode::Pki);
    }

    #[test]
    fn files_without_certificates_are_named() {
        for (file, problem) in
            [("nowhere.pem", "TLS: nowhere.pem: "), ("Cargo.toml", "TLS: Cargo.toml: has no certificate")]
        {
            let tls = TlsConfig { ca_file: Some(file.into()), ..TlsConfig::default() };
            let config = AerospikeConfig { tls: Some(tls), ..AerospikeConfig::default() };
            let error = policy(&config).unwrap_err();
            assert_eq!(
                (error.kind(), error.backend()),
                (ErrorKind::InvalidArgument, Some(BACKEND)),
                "{error}"
            );
            assert!(error.message().starts_with(problem), "{error}");
        }
    }

    #[test]
    fn a_cluster_that_cannot_be_reached_is_unavailable_and_named() {
        let config = AerospikeConfig::host("as-1", 3000);
        for native in [aerospike::Error::client_error("why"), io::Error::other("why").into()] {
            let error = unreachable(&config, &native);
            assert_eq!((error.kind(), error.backend()), (ErrorKind::Unavailable, Some(BACKEND)), "{error}");
            let message = error.message();
            assert!(message.starts_with("as-1:3000: "), "{message}");
            assert!(message.ends_with("why; check host and port"), "{message}");
        }
        let error = unreachable(&config, &aerospike::Error::invalid_argument("a bad name"));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(!error.message().contains("check host"), "{error}");
    }
}
