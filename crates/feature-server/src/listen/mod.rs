//! The data port: connections, how many there may be, how long they may do nothing, and how they end.

mod pulse;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

pub(crate) use pulse::{Active, Pulse};
use pulse::{Verdict, Watched};
pub(crate) use tls::Tls;

use crate::calls::{Budget, Reservation};
use crate::live::State;
use crate::observe::Turned;

/// The most that is read of a client ahead of what is handled: also the longest head of a request.
const READ_AHEAD: usize = 64 << 10;
/// How much of an answer the system may have that it cannot send yet. By itself it takes megabytes for each connection.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 << 10;
/// How long a connection on which nothing goes on is kept when the server stops.
const LINGER: Duration = Duration::from_millis(500);
/// How often it is looked whether certificates have changed.
const RENEW: Duration = Duration::from_secs(10);
/// How many connections the admin port has.
const ADMIN_CONNECTIONS: usize = 64;
/// How many requests a client of HTTP/2 may have under way on one connection.
const STREAMS: u32 = 256;

/// Whom a connection is with.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The names in its certificate, if it has shown one.
    pub(crate) certificate: Arc<[String]>,
    pub(crate) pulse: Arc<Pulse>,
}

/// Takes connections until the server stops; then waits for them to finish, but not longer than they may.
pub(crate) async fn run(listener: TcpListener, state: Arc<State>, router: Router) {
    let mut stopping = state.stopping();
    let connections = Budget::new(usize::MAX);
    let mut tasks = JoinSet::new();
    let spawned = |stream, address, slot| {
        let secure = state.tls.as_ref().map(arc_swap::ArcSwap::load_full);
        let (state, connections) = (Arc::clone(&state), connections.clone());
        let stopping = state.stopping();
        let whole = connection(stream, address, slot, Arc::clone(&state), router.clone(), stopping, secure);
        async move {
            whole.await;
            state.metrics.connections.set(connections.taken() as f64);
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            // What a connection had in memory goes with its task.
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        connections.set_limit(state.live().settings.limits.connections);
        let Ok(slot) = connections.take(1) else {
            state.metrics.turned_away(Turned::Connections);
            continue;
        };
        state.metrics.connections.set(connections.taken() as f64);
        tasks.spawn(spawned(stream, address, slot));
    }
    // Whoever has connected before this moment may have sent a request.
    while let Some(Ok((stream, address))) = listener.accept().now_or_never() {
        let Ok(slot) = connections.take(1) else { break };
        tasks.spawn(spawned(stream, address, slot));
    }
    drop(listener);
    let drain = state.live().settings.timeouts.drain;
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, all).await.is_err() {
        tracing::warn!(
            connections = connections.taken(),
            "requests were cut off: they took longer than timeouts.drain"
        );
        tasks.shutdown().await;
    }
    state.metrics.connections.set(0.0);
}

/// Answers on the admin port, to few clients, until it is dropped.
pub(crate) async fn run_admin(listener: TcpListener, state: Arc<State>, router: Router) {
    let connections = Budget::new(ADMIN_CONNECTIONS);
    // It says that the server is about to stop, so it does not itself.
    let (_never, stopping) = watch::channel(false);
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let Ok(slot) = connections.take(1) else { continue };
                let stopping = stopping.clone();
                let state = Arc::clone(&state);
                tokio::spawn(connection(stream, address, slot, state, router.clone(), stopping, None));
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Takes certificates that have changed, as long as it is not dropped.
pub(crate) async fn renew_certificates(state: Arc<State>) {
    loop {
        tokio::time::sleep(RENEW).await;
        let renewed = renew(&state);
        if let Err(error) = renewed {
            tracing::error!(%error, "certificates have changed and cannot be used; those from before are used on");
        }
    }
}

/// Takes certificates that have changed, now.
///
/// # Errors
/// `InvalidArgument` when they cannot be used; those from before are used on.
pub(crate) fn renew(state: &State) -> feature_core::Result<()> {
    let live = state.live();
    if let (Some(tls), Some(settings)) = (&state.tls, &live.settings.tls)
        && let Some(renewed) = tls.load().renewed(settings)?
    {
        tls.store(Arc::new(renewed));
        tracing::info!("certificates were renewed");
    }
    Ok(())
}

/// Of one connection that broke before it was accepted the next may know nothing; where the process has too
/// many open files it helps to wait for some to be closed.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    slot: Reservation,
    state: Arc<State>,
    router: Router,
    stopping: watch::Receiver<bool>,
    secure: Option<Arc<Tls>>,
) {
    // An answer is sent when it is there, and not when there is more.
    let _ = stream.set_nodelay(true);
    // What the client does not take stays here, where it counts.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
    let pulse = Arc::new(Pulse::new());
    match secure {
        None => {
            let stream = Watched::new(stream, Arc::clone(&pulse));
            let peer = Peer { address, certificate: Arc::default(), pulse };
            serve(stream, peer, &state, router, stopping).await;
        }
        Some(tls) => {
            let longest = state.live().settings.timeouts.header;
            // Of a handshake that fails the client knows why.
            if let Ok(Ok((stream, certificate))) = tokio::time::timeout(longest, tls.accept(stream)).await {
                let stream = Watched::new(stream, Arc::clone(&pulse));
                serve(stream, Peer { address, certificate, pulse }, &state, router, stopping).await;
            }
        }
    }
    drop(slot);
}

/// Answers what comes over a connection until it ends.
async fn serve<S>(stream: S, peer: Peer, state: &State, router: Router, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The pulse sees to slow heads and idle connections, for both versions alike.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(READ_AHEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(512 << 10)
        .max_header_list_size(READ_AHEAD as u32);
    let pulse = Arc::clone(&peer.pulse);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Whether the server stops, and whether the client was asked to go.
    let (mut last, mut leaving) = (*stopping.borrow(), false);
    loop {
        if last && !leaving && pulse.is_multiplexed() {
            // HTTP/2 says which requests are still answered.
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        let mut timeouts = state.live().settings.timeouts;
        if last {
            // HTTP/1 cannot: a client may be about to send one more request, whose answer says that it is the
            // last.
            timeouts.idle = timeouts.idle.min(LINGER);
        }
        let shortest = timeouts.header.min(timeouts.idle).min(timeouts.write);
        let check = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5));
        tokio::select! {
            // How a connection ends is the client's affair, and says nothing of a request.
            _ = connection.as_mut() => return,
            changed = stopping.changed(), if !last => last = changed.is_err() || *stopping.borrow(),
            () = tokio::time::sleep(check) => match pulse.verdict(&timeouts) {
                Verdict::Alive => {}
                Verdict::Idle if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                Verdict::Idle | Verdict::Slow => return,
            },
        }
    }
}
