//! Authorities, certificates, and clients that have them.
#![allow(dead_code, clippy::unwrap_used, reason = "tests share this, and some use no certificates")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate in the files `{file}.pem` and `{file}-key.pem`.
pub(crate) fn issue(authority: &Authority, folder: &Path, file: &str, params: &CertificateParams) {
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join(format!("{file}.pem")), params.signed_by(&key, authority).unwrap().pem()).unwrap();
    fs::write(folder.join(format!("{file}-key.pem")), key.serialize_pem()).unwrap();
}

/// A client that trusts the authority in `ca.pem`, with the certificate in this file, or none.
pub(crate) fn connector(folder: &Path, file: Option<&str>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let certificate = CertificateDer::from_pem_file(folder.join(format!("{file}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{file}-key.pem"))).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}
