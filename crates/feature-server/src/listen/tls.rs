//! TLS on the data port.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use feature_core::{Error, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::settings::TlsSettings;

/// What the files of the settings come to.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    /// What the files held.
    read: Files,
}

#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Self> {
        let read = |what: &str, file: &Path| fs::read(file).map_err(|error| wrong(what, file, &error));
        Ok(Self {
            certificate: read("certificate", &settings.certificate)?,
            key: read("key", &settings.key)?,
            client_authorities: match &settings.client_authorities {
                Some(file) => Some(read("client_authorities", file)?),
                None => None,
            },
        })
    }
}

/// What is wrong with a file; nothing of what it holds.
fn wrong(what: &str, file: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::invalid_argument(format!("server.tls.{what}: {}: {why}", file.display()))
}

impl Tls {
    /// Reads certificates and key.
    ///
    /// # Errors
    /// `InvalidArgument` that names the file that cannot be used.
    pub(crate) fn new(settings: &TlsSettings) -> Result<Self> {
        Self::of(settings, Files::read(settings)?)
    }

    /// The same, if the files have changed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn renewed(&self, settings: &TlsSettings) -> Result<Option<Self>> {
        let read = Files::read(settings)?;
        if read == self.read { Ok(None) } else { Self::of(settings, read).map(Some) }
    }

    fn of(settings: &TlsSettings, read: Files) -> Result<Self> {
        let provider = Arc::new(default_provider());
        let chain =
            certificates(&read.certificate).map_err(|e| wrong("certificate", &settings.certificate, &e))?;
        let key = PrivateKeyDer::from_pem_slice(&read.key)
            .map_err(|_| wrong("key", &settings.key, &"it has no private key in PEM"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::invalid_argument(format!("server.tls: {error}")))?;
        let builder = match (&settings.client_authorities, &read.client_authorities) {
            (Some(file), Some(pem)) => {
                let what = "client_authorities";
                let mut roots = RootCertStore::empty();
                for authority in certificates(pem).map_err(|e| wrong(what, file, &e))? {
                    roots.add(authority).map_err(|error| wrong(what, file, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(what, file, &error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| wrong("certificate", &settings.certificate, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), read })
    }

    /// The stream inside, and the names in the client's certificate, if it has shown one.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Arc<[String]>)> {
        let stream = self.acceptor.accept(stream).await?;
        let names = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(names_in);
        Ok((stream, names.unwrap_or_default().into()))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or("it has no certificate in PEM")
}

/// The DNS names and URIs of a certificate that has been verified.
fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    certificate.valid_dns_names().chain(certificate.valid_uri_names()).map(str::to_owned).collect()
}
