//! Servers on the loopback interface.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(super) const KEY: &str = "AKIAEXAMPLE";
pub(super) const SECRET: &str = "s3cr3t-of-the-tests";
pub(super) const BUCKET: &str = "lake";

/// An S3 server with one bucket. Ends when dropped.
pub(super) struct S3 {
    pub(super) port: u16,
    root: TempDir,
    _tasks: JoinSet<()>,
}

impl S3 {
    /// One that wants signed requests, or answers everybody.
    pub(super) async fn start(is_open: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        if !is_open {
            service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        }
        let service = service.build().into_shared();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                connections.spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    // Clients break off as they like.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, root, _tasks: tasks }
    }

    /// Puts an object into the bucket.
    pub(super) fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The file that is the object.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(key)
    }

    /// The environment of a program that reads from it through this port.
    pub(super) fn environment(port: u16) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}")),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }
}

/// A web server that answers every request with the same bytes and these headers, whatever part was wanted.
pub(super) async fn plain(body: &'static [u8], headers: &'static str) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n");
            let _ = (stream.write_all(head.as_bytes()).await, stream.write_all(body).await);
        }
    });
    (port, tasks)
}
