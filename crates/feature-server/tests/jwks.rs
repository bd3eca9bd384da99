//! Keys of an issuer that are at an address.

#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use common::asks::Issuer;
use common::{Running, clock, serving, settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const PATH: &str = "/v1/tenants/acme/views/customers/route";

/// What an issuer's web server says, and how often it was asked.
#[derive(Default)]
struct Site {
    says: Mutex<Option<String>>,
    asked: AtomicUsize,
}

impl Site {
    fn say(&self, issuer: Option<&Issuer>) {
        *self.says.lock().unwrap() = issuer.map(|issuer| std::fs::read_to_string(issuer.1.path()).unwrap());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn keys(State(site): State<Arc<Site>>) -> (StatusCode, String) {
    site.asked.fetch_add(1, Ordering::Relaxed);
    match &*site.says.lock().unwrap() {
        Some(keys) => (StatusCode::OK, keys.clone()),
        None => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    }
}

/// The site, and the settings of a server that takes its keys.
async fn site(refresh: &str) -> (Arc<Site>, String) {
    let site = Arc::<Site>::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/keys", get(keys)).with_state(Arc::clone(&site));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let text = format!(
        "  auth: {{ jwt: {{ issuer: 'https://issuer', audience: fstore, jwks: 'http://{address}/keys', jwks_refresh: {refresh} }} }}"
    );
    (site, settings(&text))
}

async fn status(server: &Running, issuer: &Issuer) -> u16 {
    let now = common::at(common::NOW).as_micros() / 1_000_000;
    server.client().key(&issuer.token("fstore", now + 60, "read")).get(PATH).await.status.as_u16()
}

#[tokio::test]
async fn keys_are_there_from_the_beginning_and_stay_when_the_site_is_away() {
    let (site, text) = site("1s").await;
    let (first, second) = (Issuer::named("1"), Issuer::named("2"));
    site.say(Some(&first));
    let server = Running::with(&text, common::map_store()).await;
    assert_eq!((status(&server, &first).await, site.asked()), (200, 1));

    // After a second they are asked for again; what comes is no set of keys, so those from before hold.
    site.say(None);
    while site.asked() < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status(&server, &first).await, 200);
    let new = serving(&text, &server.backend, clock()).await.unwrap();
    server.handle.replace(new).unwrap();
    assert_eq!(status(&server, &first).await, 200, "other settings have the same keys");

    site.say(Some(&second));
    while status(&server, &second).await != 200 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(status(&server, &first).await, 401, "its key was taken back");
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_is_new_is_asked_for_at_once_and_then_not_for_a_while() {
    let (site, text) = site("1d").await;
    let (first, second, forger) = (Issuer::named("1"), Issuer::named("2"), Issuer::named("3"));
    site.say(Some(&first));
    let server = Running::with(&text, common::map_store()).await;
    site.say(Some(&second));
    assert_eq!((status(&server, &second).await, site.asked()), (401, 1), "it was asked for just now");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_eq!((status(&server, &second).await, site.asked()), (200, 2));
    for _ in 0..3 {
        assert_eq!(status(&server, &forger).await, 401);
    }
    assert_eq!(site.asked(), 2, "whoever shows unknown keys does not make it ask and ask");
    server.stop().await;
}

#[tokio::test]
async fn a_site_that_is_away_keeps_no_server_from_beginning() {
    let (site, text) = site("1s").await;
    let issuer = Issuer::named("1");
    let server = Running::with(&text, common::map_store()).await;
    assert_eq!(site.asked(), 1);
    assert_eq!(status(&server, &issuer).await, 401);
    site.say(Some(&issuer));
    while status(&server, &issuer).await != 200 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.stop().await;
}

/// Says the issuer's keys over TLS, with a certificate for this machine.
async fn secure_site(issuer: &Issuer, folder: &Path) -> SocketAddr {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let keys = std::fs::read_to_string(issuer.1.path()).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever does not trust the certificate hangs up.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", keys.len());
            let _ = stream.write_all([head.as_bytes(), keys.as_bytes()].concat().as_slice()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn keys_come_over_tls_from_those_who_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::named("1");
    let address = secure_site(&issuer, folder.path()).await;
    let authorities = format!(", jwks_authorities: {}", folder.path().join("ca.pem").display());
    for (authorities, wanted) in [(authorities.as_str(), 200), ("", 401)] {
        let text = format!(
            "  auth: {{ jwt: {{ issuer: 'https://issuer', audience: fstore, jwks: 'https://{address}/keys'{authorities} }} }}"
        );
        let server = Running::start(&text).await;
        assert_eq!(status(&server, &issuer).await, wanted, "{authorities}");
        server.stop().await;
    }
}
