//! A proxy between a client and its server that breaks connections on purpose.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A TCP proxy on the loopback interface. It passes bytes both ways and, on demand, resets connections in the
/// middle of a reply, forgets them without a word, or holds replies back. Ends with its connections when dropped.
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
    /// How long a reply is held back, in microseconds.
    delay: AtomicU64,
    /// How often all connections have been forgotten.
    forgotten: AtomicU64,
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

    /// Holds back what servers send from now on for so long, in its order.
    pub fn delay_replies(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.faults.delay.store(micros, Ordering::Relaxed);
    }

    /// Forgets every connection that there is, as a balancer does with one that was idle: nothing passes in
    /// either direction any more, and nobody is told. New ones are served.
    pub fn forget(&self) {
        self.faults.forgotten.fetch_add(1, Ordering::Relaxed);
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
    let born = faults.forgotten.load(Ordering::Relaxed);
    let is_forgotten = || faults.forgotten.load(Ordering::Relaxed) > born;
    loop {
        let (written, ended) = tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(n) if n > 0 && is_forgotten() => continue,
                Ok(n) if n > 0 => (server.write_all(&from_client[..n]).await, false),
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(n) if n > 0 => {
                    let delay = faults.delay.load(Ordering::Relaxed);
                    if delay > 0 {
                        tokio::time::sleep(Duration::from_micros(delay)).await;
                    }
                    if is_forgotten() {
                        continue;
                    }
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

    /// A server that answers each byte with ten.
    async fn serve() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(b"0123456789").await.unwrap();
                    }
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn a_connection_that_is_forgotten_is_silent_and_a_new_one_is_served() {
        let proxy = Proxy::start(serve().await).await.unwrap();
        let mut reply = [0; 10];
        let mut old = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        old.write_all(b"?").await.unwrap();
        old.read_exact(&mut reply).await.unwrap();
        proxy.forget();
        old.write_all(b"?").await.unwrap();
        let mut new = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        new.write_all(b"?").await.unwrap();
        proxy.delay_replies(Duration::from_millis(20));
        new.read_exact(&mut reply).await.unwrap();
        // Neither bytes nor an end.
        assert_eq!(old.try_read(&mut reply).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_reply_is_cut_and_the_connection_reset() {
        let proxy = Proxy::start(serve().await).await.unwrap();
        let mut reply = [0; 10];
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        stream.write_all(b"?").await.unwrap();
        stream.read_exact(&mut reply).await.unwrap();

        proxy.reset_after(4);
        stream.write_all(b"?").await.unwrap();
        let error = stream.read_exact(&mut reply).await.unwrap_err();
        assert_eq!((error.kind(), proxy.resets()), (io::ErrorKind::ConnectionReset, 1));
    }
}
