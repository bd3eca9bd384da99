//! TLS, certificates of clients, and certificates that change.

#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::fs;
use std::path::Path;

use common::tls::{self, Authority, authority, connector};
use common::{Running, clock, map_store, serving, settings};
use rcgen::{CertificateParams, SerialNumber};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// A certificate for a name, in the files `{file}.pem` and `{file}-key.pem`.
fn issue(authority: &Authority, folder: &Path, file: &str, name: &str, serial: u64) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    tls::issue(authority, folder, file, &params);
}

/// The status of an answer and the server's certificate; `None` when there is no connection.
async fn ask(server: &Running, folder: &Path, client: Option<&str>) -> Option<(u16, Vec<u8>)> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector(folder, client).connect(name, stream).await.ok()?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let request = "GET /v1/tenants/acme/views/devices/route HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // A client whose certificate is refused learns it when it reads.
    stream.read_to_end(&mut answer).await.ok()?;
    Some((std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap(), shown))
}

#[tokio::test]
async fn clients_are_known_by_their_certificates_and_nobody_without_one_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, foreign) = (authority(), authority());
    fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
    issue(&ours, folder, "server", "localhost", 1);
    for (issuer, file, name) in [
        (&ours, "scoring", "scoring.acme"),
        (&ours, "other", "other.acme"),
        (&foreign, "forged", "scoring.acme"),
    ] {
        issue(issuer, folder, file, name, 2);
    }
    let path = |file: &str| folder.join(file).display().to_string();
    let text = settings(&format!(
        "  tls: {{ certificate: {}, key: {}, client_authorities: {} }}\n  auth:\n    clients: [{{ subject: scoring.acme, tenants: [acme], rights: [read] }}]",
        path("server.pem"),
        path("server-key.pem"),
        path("ca.pem")
    ));
    let server = Running::with(&text, map_store()).await;
    assert_eq!(ask(&server, folder, Some("scoring")).await.unwrap().0, 200);
    assert_eq!(ask(&server, folder, Some("other")).await.unwrap().0, 401);
    assert_eq!(ask(&server, folder, Some("forged")).await, None);
    assert_eq!(ask(&server, folder, None).await, None);

    // A new certificate is taken while the server runs; one that cannot be used is not.
    let before = ask(&server, folder, Some("scoring")).await.unwrap().1;
    let renew = async || server.handle.replace(serving(&text, &server.backend, clock()).await.unwrap());
    issue(&ours, folder, "server", "localhost", 3);
    renew().await.unwrap();
    let after = ask(&server, folder, Some("scoring")).await.unwrap().1;
    assert_ne!(before, after);
    fs::write(folder.join("server.pem"), "no certificate").unwrap();
    let error = renew().await.unwrap_err();
    assert!(
        error.message().contains("server.tls.certificate") && error.message().contains("no certificate"),
        "{error}"
    );
    assert_eq!(ask(&server, folder, Some("scoring")).await.unwrap().1, after);

    // Plain HTTP gets nothing.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    server.stop().await;
}
