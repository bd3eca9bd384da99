//! Every endpoint and every method, asked by everybody: nothing crosses from tenant to tenant, and no secret is in
//! an answer, a line of the log or a metric.

#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use common::asks::{Issuer, endpoints, methods};
use common::grpc::framed;
use common::tls::{self, Authority, authority, connector};
use common::{Running, clock, map_store, serving, settings};
use feature_server::{NewKey, Server, new_key};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::CertificateParams;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::{Code, Status};

/// Something that can be asked, over HTTP or gRPC.
struct Ask {
    grpc: bool,
    method: Method,
    path: &'static str,
    body: Vec<u8>,
    right: &'static str,
}

fn asks() -> Vec<Ask> {
    let http = endpoints().into_iter().map(|(method, path, body, right)| Ask {
        grpc: false,
        method,
        path,
        body: body.into_bytes(),
        right,
    });
    let grpc = methods().into_iter().map(|(path, message, right)| Ask {
        grpc: true,
        method: Method::POST,
        path,
        body: framed(&message),
        right,
    });
    http.chain(grpc).collect()
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Unauthenticated,
    Denied,
    /// There was no connection.
    Nothing,
    Else,
}

/// Asks over a connection: what became of it, and everything that was said.
async fn ask<S>(stream: S, ask: &Ask, headers: &[(&'static str, String)]) -> (Outcome, String)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = TokioIo::new(stream);
    let mut request = Request::builder().method(ask.method.clone());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let body = Full::new(Bytes::from(ask.body.clone()));
    let answer = if ask.grpc {
        let Ok((mut sender, connection)) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await
        else {
            return (Outcome::Nothing, String::new());
        };
        tokio::spawn(connection);
        let request = request.uri(format!("http://localhost{}", ask.path));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        sender.send_request(request.body(body).unwrap()).await
    } else {
        let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(io).await else {
            return (Outcome::Nothing, String::new());
        };
        tokio::spawn(connection);
        let request = request.uri(ask.path).header("content-type", "application/json").header("host", "x");
        sender.send_request(request.body(body).unwrap()).await
    };
    let Ok(answer) = answer else { return (Outcome::Nothing, String::new()) };
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let said = format!("{parts:?} {trailers:?} {}", String::from_utf8_lossy(&body.to_bytes()));
    let status = Status::from_header_map(&parts.headers).or_else(|| Status::from_header_map(&trailers));
    let outcome = match (ask.grpc, status.map(|status| status.code()), parts.status.as_u16()) {
        (true, Some(Code::Ok), _) | (false, _, 200) => Outcome::Done,
        (true, Some(Code::Unauthenticated), _) | (false, _, 401) => Outcome::Unauthenticated,
        (true, Some(Code::PermissionDenied), _) | (false, _, 403) => Outcome::Denied,
        _ => Outcome::Else,
    };
    (outcome, said)
}

/// A connection from an address of its own: wrong attempts from one address wait, each longer than the one before.
async fn connect(to: SocketAddr) -> TcpStream {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 1, high, low)), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A log that can be looked at.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that the tests must find nowhere, and what there was said.
#[derive(Default)]
struct Secrets {
    all: Vec<String>,
    said: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_crosses_and_no_secret_is_told() {
    let metrics = feature_server::install_metrics().unwrap();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .init();

    let key = || new_key().unwrap();
    let (reader, writer, admin, other, wrong) = (key(), key(), key(), key(), key());
    let (issuer, forger) = (Issuer::new(), Issuer::new());
    let entry = |name: &str, key: &NewKey, tenant: &str, rights: &str| {
        let hash = key.hash.to_hex();
        format!("      - {{ name: {name}, sha256: {hash}, tenants: [{tenant}], rights: [{rights}] }}\n")
    };
    let text = settings(&format!(
        "  feast: {{ tenant: acme }}\n  timeouts: {{ slow: 1ms }}\n  auth:\n    \
         jwt: {{ issuer: 'https://issuer', audience: fstore, jwks: {} }}\n    keys:\n{}{}{}{}",
        issuer.1.path().display(),
        entry("reader", &reader, "acme", "read"),
        entry("writer", &writer, "acme", "write"),
        entry("admin", &admin, "acme", "admin"),
        entry("other", &other, "other, 'acme-*'", "read, write, admin"),
    ));
    let backend = map_store();
    let serving = serving(&text, &backend, clock()).await.unwrap();
    let server = Running::of(Server::bind(serving, Some(metrics)).await.unwrap(), backend);

    let now = common::at(common::NOW).as_micros() / 1_000_000;
    let bearer = |token: &str| vec![("authorization", format!("Bearer {token}"))];
    let expose = |key: &NewKey| key.key.expose().to_owned();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{}", expose(&reader)));
    let good = issuer.token("fstore", now + 60, "read");
    // The claims of one who may everything, with the signature of another token.
    let (_, signature) = good.rsplit_once('.').unwrap();
    let claims = json!({ "iss": "https://issuer", "aud": "fstore", "sub": "m", "exp": now + 60,
                         "fstore_tenants": ["*"], "fstore_rights": ["read", "write", "admin"] });
    let unsigned = URL_SAFE_NO_PAD.encode(json!({ "alg": "none" }).to_string());
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let stolen = format!("{}.{claims}.{signature}", good.split('.').next().unwrap());
    let mut secrets = Secrets::default();
    let everybody = |right: &'static str| {
        let by = |own: &str| if own == right { Outcome::Done } else { Outcome::Denied };
        let token = |audience: &str, expires| issuer.token(audience, expires, right);
        [
            ("nobody", Vec::new(), Outcome::Unauthenticated),
            ("a wrong key", bearer(&expose(&wrong)), Outcome::Unauthenticated),
            ("a wrong key in x-api-key", vec![("x-api-key", expose(&wrong))], Outcome::Unauthenticated),
            ("the hash of a key", bearer(&reader.hash.to_hex()), Outcome::Unauthenticated),
            (
                "a key as a password",
                vec![("authorization", format!("Basic {basic}"))],
                Outcome::Unauthenticated,
            ),
            ("another tenant's key", bearer(&expose(&other)), Outcome::Denied),
            ("a reader", bearer(&expose(&reader)), by("read")),
            ("a writer", bearer(&expose(&writer)), by("write")),
            ("an admin", bearer(&expose(&admin)), by("admin")),
            ("a token", bearer(&token("fstore", now + 60)), Outcome::Done),
            ("a token that is over", bearer(&token("fstore", now - 60)), Outcome::Unauthenticated),
            ("a token for others", bearer(&token("other", now + 60)), Outcome::Unauthenticated),
            ("a forger", bearer(&forger.token("fstore", now + 60, right)), Outcome::Unauthenticated),
            ("a stolen signature", bearer(&stolen), Outcome::Unauthenticated),
            ("no signature", bearer(&format!("{unsigned}.{claims}.")), Outcome::Unauthenticated),
        ]
    };
    for own in asks() {
        for (who, headers, wanted) in everybody(own.right) {
            let (found, said) = ask(connect(server.address).await, &own, &headers).await;
            assert_eq!(found, wanted, "{} {} by {who}: {said}", own.method, own.path);
            secrets.said += &said;
            let shown = |(_, value): &(_, String)| value.rsplit(' ').next().unwrap().to_owned();
            secrets.all.extend(headers.iter().map(shown));
        }
    }
    for key in [&reader, &writer, &admin, &other] {
        secrets.all.push(key.hash.to_hex());
    }
    secrets.all.push(signature.to_owned());
    let metrics = TcpStream::connect(server.admin).await.unwrap();
    let page = Ask { grpc: false, method: Method::GET, path: "/metrics", body: Vec::new(), right: "" };
    let (found, metrics) = ask(metrics, &page, &[]).await;
    assert_eq!(found, Outcome::Done);
    assert!(metrics.contains("fstore_http_turned_away_total{reason=\"unauthenticated\"}"), "{metrics}");
    server.stop().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("feature_server::request") && log.contains("\"principal\":\"reader\""),
        "{log:.2000}"
    );
    for secret in &secrets.all {
        for (place, text) in [("an answer", &secrets.said), ("the log", &log), ("a metric", &metrics)] {
            assert!(!text.contains(secret), "{secret} is in {place}");
        }
    }
}

/// Asks over TLS, with the certificate of this name, or none.
async fn ask_with(server: &Running, folder: &Path, name: Option<&str>, own: &Ask) -> Outcome {
    let stream = connect(server.address).await;
    let host = ServerName::try_from("localhost").unwrap();
    match connector(folder, name).connect(host, stream).await {
        Ok(stream) => ask(stream, own, &[]).await.0,
        Err(_) => Outcome::Nothing,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_anywhere_without_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let issue = |authority: &Authority, name: &str| {
        tls::issue(authority, folder, name, &CertificateParams::new(vec![name.to_owned()]).unwrap());
    };
    let (ours, foreign) = (authority(), authority());
    fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
    for name in ["localhost", "read.acme", "write.acme", "admin.acme", "other.acme", "unknown.acme"] {
        issue(&ours, name);
    }
    issue(&foreign, "forged.acme");
    let path = |file: &str| folder.join(file).display().to_string();
    let client = |name: &str, tenant: &str, right: &str| {
        format!("      - {{ subject: {name}, tenants: [{tenant}], rights: [{right}] }}\n")
    };
    let text = settings(&format!(
        "  feast: {{ tenant: acme }}\n  tls: {{ certificate: {}, key: {}, client_authorities: {} }}\n  auth:\n    clients:\n{}{}{}{}{}",
        path("localhost.pem"),
        path("localhost-key.pem"),
        path("ca.pem"),
        client("read.acme", "acme", "read"),
        client("write.acme", "acme", "write"),
        client("admin.acme", "acme", "admin"),
        client("other.acme", "other, 'acme-*'", "read, write, admin"),
        client("forged.acme", "acme", "read, write, admin"),
    ));
    let server = Running::with(&text, map_store()).await;
    for own in asks() {
        let by = |right: &str| if own.right == right { Outcome::Done } else { Outcome::Denied };
        for (name, wanted) in [
            (None, Outcome::Nothing),
            (Some("forged.acme"), Outcome::Nothing),
            (Some("unknown.acme"), Outcome::Unauthenticated),
            (Some("other.acme"), Outcome::Denied),
            (Some("read.acme"), by("read")),
            (Some("write.acme"), by("write")),
            (Some("admin.acme"), by("admin")),
        ] {
            let found = ask_with(&server, folder, name, &own).await;
            assert_eq!(found, wanted, "{} {} by {name:?}", own.method, own.path);
        }
    }
    server.stop().await;
}
