//! A document from a web server: one request, small, and soon over.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long it may take in all.
const LONGEST: Duration = Duration::from_secs(5);
/// How much it may be.
const LARGEST: usize = 1 << 20;

/// An address that documents are fetched from: by https, or from this machine.
pub(crate) fn address(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
    let authority = uri.authority().ok_or("it is not a URL with a host")?;
    if authority.as_str().contains('@') {
        return Err("it must not have a user or password");
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_local(authority.host()) => Ok(uri),
        Some("http") => Err("keys that come by http could be anybody's: use https"),
        _ => Err("it is neither https nor a file"),
    }
}

fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Fetches a document. Redirections are not followed.
pub(super) async fn get(address: &Uri, authorities: Option<&Path>) -> Result<Bytes, String> {
    let fetched = async {
        let host = address.host().ok_or("it has no host")?.trim_start_matches('[').trim_end_matches(']');
        let secure = address.scheme_str() == Some("https");
        let port = address.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
        if !secure {
            return over(stream, address).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::new(config(authorities)?));
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        over(stream, address).await
    };
    match tokio::time::timeout(LONGEST, fetched).await {
        Ok(fetched) => fetched,
        Err(_) => Err(format!("it did not come within {} s", LONGEST.as_secs())),
    }
}

/// Trusts those who sign for this machine, or only these.
fn config(authorities: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(file) => {
            let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
            let pem = fs::read(file).map_err(|error| wrong(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

async fn over<S>(stream: S, address: &Uri) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let host = address.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
    let path = address.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(HOST, host).header(ACCEPT, "application/json");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(said)?;
        if answer.status() != 200 {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    };
    // The connection ends with what was asked over it, which says how it went.
    futures::future::join(answer, connection).await.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        for (text, good) in [
            ("https://issuer.example/keys", true),
            ("https://issuer.example:8443/keys?a=b", true),
            ("http://127.0.0.1:80/keys", true),
            ("http://[::1]/keys", true),
            ("http://localhost/keys", true),
            ("http://issuer.example/keys", false),
            ("http://localhost.example/keys", false),
            ("https://user:word@issuer.example/", false),
            ("ftp://localhost/", false),
            ("https:", false),
            ("", false),
        ] {
            assert_eq!(address(text).is_ok(), good, "{text}");
        }
    }
}
