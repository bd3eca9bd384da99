//! A proxy between a client and its server that breaks connections on purpose.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A TCP proxy on the loopback interface. It passes bytes both ways and, on demand, resets connections in the
/// middle of a reply. Ends with its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    faults: Arc<Faults>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Faults {
    /// After how many bytes from the server a connection is reset; 0 is never.
    reset_after: AtomicU64,
    resets: AtomicU64,
}

impl Proxy {
    /// A proxy before the server at this port of the loopback interface.
    ///
    /// # Errors
    /// What keeps it from listening.
    pub async fn start(server_port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let faults = Arc::<Faults>::default();
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&faults);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection(client, server_port, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, faults, _tasks: tasks })
    }

    /// Where the proxy listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection once its server has sent this many bytes from now on, so that a reply is cut
    /// in two; 0 stops that.
    pub fn reset_after(&self, bytes: u64) {
        self.faults.reset_after.store(bytes, Ordering::Relaxed);
    }

    /// How many connections have been reset.
    pub fn resets(&self) -> u64 {
        self.faults.resets.load(Ordering::Relaxed)
    }
}

/// Passes bytes on until a side ends, or the fault comes. Which side fails does not matter.
async fn connection(mut client: TcpStream, server_port: u16, faults: Arc<Faults>) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut from_server) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    let mut sent = 0;
    loop {
        let (written, ended) = tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(n) if n > 0 => (server.write_all(&from_client[..n]).await, false),
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(n) if n > 0 => {
                    let limit = faults.reset_after.load(Ordering::Relaxed);
                    let left = if limit == 0 { u64::MAX } else { limit.saturating_sub(sent) };
                    let part = usize::try_from(left).unwrap_or(usize::MAX).min(n);
                    sent = if limit == 0 { 0 } else { sent + part as u64 };
                    (client.write_all(&from_server[..part]).await, part < n || left == part as u64)
                }
                _ => return,
            },
        };
        if ended {
            faults.resets.fetch_add(1, Ordering::Relaxed);
            // Without lingering the peer gets a reset rather than an end.
            let _ = client.set_zero_linger();
            return;
        }
        if written.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_is_cut_and_the_connection_reset() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() {
                    stream.write_all(b"0123456789").await.unwrap();
                }
            }
        });
        let proxy = Proxy::start(port).await.unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        let mut reply = [0; 10];
        stream.write_all(b"?").await.unwrap();
        stream.read_exact(&mut reply).await.unwrap();

        proxy.reset_after(4);
        stream.write_all(b"?").await.unwrap();
        let error = stream.read_exact(&mut reply).await.unwrap_err();
        assert_eq!((error.kind(), proxy.resets()), (io::ErrorKind::ConnectionReset, 1));
    }
}
