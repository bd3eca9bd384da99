//! Redis over TLS, with certificates made for the occasion.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::process::{folder, free_ports};
use super::{RedisOptions, Server};

/// Certificates as PEM files: of an authority, and by it of a server at `127.0.0.1` and `localhost` and of
/// a client. The files go with this.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes an authority and what it vouches for.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn make() -> Result<Self, String> {
        let certificates = Self { folder: folder()? };
        certificates.fill().map_err(|e| format!("no certificates can be made: {e}"))?;
        Ok(certificates)
    }

    fn fill(&self) -> Result<(), Box<dyn std::error::Error>> {
        let params = |name: &str, hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().copied().map(str::to_owned).collect();
            let mut params = CertificateParams::new(hosts)?;
            params.distinguished_name.push(DnType::CommonName, name);
            Ok::<_, rcgen::Error>(params)
        };
        let mut authority = params("fstore test authority", &[])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        fs::write(self.authority(), authority.pem())?;
        for (params, certificate, key_file) in [
            (params("server", &["127.0.0.1", "localhost"])?, self.server(), self.server_key()),
            (params("client", &[])?, self.client(), self.client_key()),
        ] {
            let key = KeyPair::generate()?;
            fs::write(certificate, params.signed_by(&key, &authority)?.pem())?;
            fs::write(key_file, key.serialize_pem())?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's certificate, which both sides are to trust.
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The server's certificate.
    pub fn server(&self) -> PathBuf {
        self.file("server.pem")
    }

    /// The server's private key.
    pub fn server_key(&self) -> PathBuf {
        self.file("server-key.pem")
    }

    /// The client's certificate.
    pub fn client(&self) -> PathBuf {
        self.file("client.pem")
    }

    /// The client's private key.
    pub fn client_key(&self) -> PathBuf {
        self.file("client-key.pem")
    }
}

/// A Redis server that takes connections over TLS from clients with a certificate of its authority. Orders
/// ([`Server::command`]) go to another port, without TLS.
pub struct RedisTls {
    server: Server,
    certificates: Certificates,
    url: String,
}

impl RedisTls {
    /// Starts it. With `--tls-auth-clients no` among the options it asks for no client's certificate.
    ///
    /// # Errors
    /// No `redis-server` on the `PATH`, or one without TLS; why it does not start.
    pub async fn start(options: &RedisOptions) -> Result<Self, String> {
        let certificates = Certificates::make()?;
        let [port] = free_ports()?;
        let (at, file) = (port.to_string(), |path: PathBuf| path.display().to_string());
        let (authority, certificate, key) =
            (certificates.authority(), certificates.server(), certificates.server_key());
        let mut all = RedisOptions { arguments: Vec::new(), ..options.clone() }.with([
            "--tls-port",
            &at,
            "--tls-ca-cert-file",
            &file(authority),
            "--tls-cert-file",
            &file(certificate),
            "--tls-key-file",
            &file(key),
        ]);
        all.arguments.extend(options.arguments.iter().cloned());
        let server = Server::start_redis(&all).await?;
        let user = options.password.as_ref().map_or(String::new(), |password| format!(":{password}@"));
        Ok(Self { server, certificates, url: format!("rediss://{user}127.0.0.1:{port}") })
    }

    /// `rediss://127.0.0.1:PORT`, without the files that a client needs.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The files that a client needs.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The server, to do harm to and give orders.
    pub fn server(&self) -> &Server {
        &self.server
    }
}
