//! Connections to one server: made when needed, shared by many requests, given up when they fail.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use feature_core::{ErrorKind, Result, format_duration};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use crate::dial::Dialer;
use crate::error::{Failure, Next, from_client, from_server};
use crate::joint::Share;
use crate::resp::{Replies, Reply, Request};
use crate::wire::{Sent, Wire};
use crate::write::Row;

/// After a connection could not be made, it is not tried again for this long: what waits fails at once.
const PAUSE: Duration = Duration::from_millis(20);

/// The address of a server as text.
pub(crate) fn name(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads and writes.
    Primary,
    /// Reads of a cluster's replica, which the connection has to ask for.
    ClusterReplica,
    /// Knows where the primary is, and has a login of its own.
    Sentinel,
}

/// A server and the connections to it.
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The address as text, for errors.
    pub(crate) name: String,
    dialer: Arc<Dialer>,
    role: Role,
    links: Vec<Arc<Link>>,
    next: AtomicUsize,
}

/// A place for one connection.
#[derive(Default)]
struct Link {
    state: Mutex<State>,
    /// Rows of the calls that wait for an answer.
    under_way: AtomicUsize,
}

/// Rows of a call that is under way, until it is dropped.
struct UnderWay<'a>(&'a Link, usize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(self.1, Ordering::Relaxed);
    }
}

enum State {
    Closed {
        /// Why there is none, and until when nobody tries again.
        failed: Option<(Failure, Instant)>,
    },
    Dialing(Shared<BoxFuture<'static, Result<Connection, Failure>>>),
    Open(Connection),
    /// The store is closed.
    Ended,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failed: None }
    }
}

/// A connection, and since when it owes answers that a caller has given up waiting for.
#[derive(Clone)]
struct Connection {
    wire: Wire,
    silent_since: Arc<Mutex<Option<Instant>>>,
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, rows: usize) -> UnderWay<'_> {
        self.under_way.fetch_add(rows, Ordering::Relaxed);
        UnderWay(self, rows)
    }

    /// Whether a call would fail at once, since no connection could be made just now.
    fn is_failing(&self) -> bool {
        matches!(&*self.state(), State::Closed { failed: Some((_, until)) } if Instant::now() < *until)
    }

    /// The connection, made if there is none. Making it goes on when the caller gives up, so that callers in
    /// a hurry do not keep each other from ever having one.
    async fn connection(self: &Arc<Self>, node: &Node) -> Result<Connection, Failure> {
        let dialing = {
            let mut state = self.state();
            match &*state {
                State::Open(connection) => return Ok(connection.clone()),
                State::Ended => return Err(Failure::closed()),
                State::Closed { failed: Some((failure, until)) } if Instant::now() < *until => {
                    return Err(failure.clone());
                }
                State::Dialing(dialing) => dialing.clone(),
                State::Closed { .. } => {
                    let dialing = Arc::clone(self).dial(node);
                    *state = State::Dialing(dialing.clone());
                    dialing
                }
            }
        };
        dialing.await
    }

    fn dial(self: Arc<Self>, node: &Node) -> Shared<BoxFuture<'static, Result<Connection, Failure>>> {
        let (dialer, role) = (Arc::clone(&node.dialer), node.role);
        let (host, port, name) = (node.host.clone(), node.port, node.name.clone());
        let task = tokio::spawn(async move {
            let dialed = connect(&dialer, role, &host, port, &name).await;
            let mut state = self.state();
            if matches!(&*state, State::Ended) {
                return Err(Failure::closed());
            }
            *state = match &dialed {
                Ok(connection) => State::Open(connection.clone()),
                Err(failure) => State::Closed { failed: Some((failure.clone(), Instant::now() + PAUSE)) },
            };
            dialed
        });
        let dialed = async move {
            task.await.unwrap_or_else(|e| {
                Err(Failure::new(ErrorKind::Internal, format!("connecting has failed: {e}"), Next::Fail))
            })
        };
        dialed.boxed().shared()
    }

    /// Gives a connection up, unless another has taken its place already.
    fn discard(&self, connection: &Connection) {
        let mut state = self.state();
        if matches!(&*state, State::Open(open) if open.wire.is_same(&connection.wire)) {
            *state = State::default();
        }
    }
}

async fn connect(
    dialer: &Dialer,
    role: Role,
    host: &str,
    port: u16,
    name: &str,
) -> Result<Connection, Failure> {
    let dialed = dialer.dial(role, host, port, name);
    match tokio::time::timeout(dialer.config.connect_timeout, dialed).await {
        Ok(wire) => Ok(Connection { wire: wire?, silent_since: Arc::default() }),
        Err(_) => {
            let limit = format_duration(dialer.config.connect_timeout);
            let message = format!("{name}: no connection within connect_timeout, {limit}");
            Err(Failure::new(ErrorKind::Unavailable, message, Next::Locate))
        }
    }
}

impl Node {
    pub(crate) fn new(dialer: &Arc<Dialer>, host: &str, port: u16, role: Role) -> Arc<Self> {
        Arc::new(Self {
            host: host.to_owned(),
            port,
            name: name(host, port),
            dialer: Arc::clone(dialer),
            role,
            links: (0..dialer.config.connections).map(|_| Arc::default()).collect(),
            next: AtomicUsize::new(0),
        })
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn is_at(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }

    /// Makes sure that there is a connection.
    pub(crate) async fn open(&self) -> Result<(), Failure> {
        self.links[0].connection(self).await.map(drop)
    }

    /// The connection with the fewest rows under way, so that a small call waits less often behind a large
    /// one; in turn where that is the same. One that fails at once has none under way, and comes last.
    fn link(&self) -> &Arc<Link> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let by_turns = (first..first + self.links.len()).map(|turn| &self.links[turn % self.links.len()]);
        by_turns
            .min_by_key(|link| (link.is_failing(), link.under_way.load(Ordering::Relaxed)))
            .unwrap_or(&self.links[0])
    }

    /// Sends commands together and waits for the reply to each until the deadline. Error replies are among them.
    pub(crate) async fn send(&self, request: Request, deadline: Instant) -> Result<Replies, Failure> {
        let rows = request.commands();
        self.send_rows(request, rows, deadline).await
    }

    /// The same, for commands that cover this many rows.
    pub(crate) async fn send_rows(
        &self,
        request: Request,
        rows: usize,
        deadline: Instant,
    ) -> Result<Replies, Failure> {
        self.send_any(Sent::Request(request), rows, deadline).await.map(|(replies, _)| replies)
    }

    /// The same, for a row that may share its command with others; tells which of them it was.
    pub(crate) async fn send_row(
        &self,
        key: String,
        row: Row,
        deadline: Instant,
    ) -> Result<(Replies, Share), Failure> {
        self.send_any(Sent::Row(key, row), 1, deadline).await
    }

    async fn send_any(
        &self,
        sent: Sent,
        rows: usize,
        deadline: Instant,
    ) -> Result<(Replies, Share), Failure> {
        let link = self.link();
        let _under_way = link.begin(rows);
        let out_of_time = |in_doubt| Failure {
            in_doubt,
            ..Failure::new(
                ErrorKind::DeadlineExceeded,
                format!("{}: no answer before the deadline", self.name),
                Next::Fail,
            )
        };
        let connecting = tokio::time::timeout_at(deadline, link.connection(self));
        let connection = connecting.await.map_err(|_| out_of_time(false))??;
        let started = Instant::now();
        let Ok(replies) = tokio::time::timeout_at(deadline, connection.wire.send(sent)).await else {
            let mut silent = lock(&connection.silent_since);
            let since = *silent.get_or_insert(started);
            drop(silent);
            if since.elapsed() >= self.dialer.config.response_timeout {
                link.discard(&connection);
            }
            return Err(out_of_time(true));
        };
        let replies = replies.map_err(|error| {
            link.discard(&connection);
            from_client(&error, &self.name, true)
        })?;
        *lock(&connection.silent_since) = None;
        Ok(replies)
    }

    /// Sends one command. An error reply is a failure.
    pub(crate) async fn ask(&self, command: Request, deadline: Instant) -> Result<Reply, Failure> {
        match self.send(command, deadline).await?.next() {
            Some(Reply::Error(error)) => Err(from_server(&error, &self.name)),
            Some(reply) => Ok(reply),
            None => Err(Failure::garbled(&self.name)),
        }
    }

    /// Gives up every connection, so that the next request makes a new one.
    pub(crate) fn reset(&self) {
        for link in &self.links {
            let mut state = link.state();
            if matches!(&*state, State::Open(_)) {
                *state = State::default();
            }
        }
    }

    /// Ends every connection for good.
    pub(crate) fn end(&self) {
        for link in &self.links {
            *link.state() = State::Ended;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use futures::future::join;

    use super::*;
    use crate::config::RedisConfig;
    use crate::dial::tests::server;

    /// Settings for a server on this port.
    pub(crate) fn local(port: u16) -> RedisConfig {
        RedisConfig { host: "127.0.0.1".to_owned(), port, ..RedisConfig::default() }
    }

    pub(crate) fn node(config: RedisConfig, port: u16) -> Arc<Node> {
        Node::new(&Arc::new(Dialer::new(config).unwrap()), "127.0.0.1", port, Role::Primary)
    }

    fn idle(connections: usize) -> Arc<Node> {
        node(RedisConfig { connections, ..RedisConfig::default() }, 1)
    }

    /// With one connection, to a server that takes all.
    async fn served() -> Arc<Node> {
        node(RedisConfig { connections: 1, ..RedisConfig::default() }, server(|_| Some("+OK")).await)
    }

    /// Whether all of its connections have not been ended.
    pub(crate) fn is_open(node: &Node) -> bool {
        node.links.iter().all(|link| !matches!(&*link.state(), State::Ended))
    }

    pub(crate) fn is_connected(node: &Node) -> bool {
        node.links.iter().any(|link| matches!(&*link.state(), State::Open(_)))
    }

    fn ping() -> Request {
        Request::of([&b"PING"[..]])
    }

    /// A deadline that no test should meet.
    pub(crate) fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn refused() -> Failure {
        Failure::new(ErrorKind::Unavailable, "refused", Next::Locate)
    }

    fn connection(node: &Node) -> Option<Connection> {
        match &*node.links[0].state() {
            State::Open(connection) => Some(connection.clone()),
            _ => None,
        }
    }

    #[test]
    fn a_small_call_takes_the_connection_without_a_large_one() {
        let node = idle(3);
        let _large = node.link().begin(100);
        let _others: Vec<_> = (0..198).map(|_| node.link().begin(1)).collect();
        let under_way = |link: &Arc<Link>| link.under_way.load(Ordering::Relaxed);
        assert!(node.links.iter().all(|link| (99..=100).contains(&under_way(link))));
    }

    #[test]
    fn rows_are_under_way_until_their_call_has_ended() {
        let node = idle(3);
        let calls = [node.links[1].begin(5), node.links[2].begin(7)];
        for _ in 0..6 {
            assert!(Arc::ptr_eq(node.link(), &node.links[0]));
        }
        drop(calls);
        assert!(node.links.iter().all(|link| link.under_way.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn idle_connections_take_turns_and_a_failing_one_is_passed_over() {
        let node = idle(3);
        let places = |calls: usize| -> Vec<usize> {
            let place = |link| node.links.iter().position(|own| Arc::ptr_eq(own, link)).unwrap();
            (0..calls).map(|_| place(node.link())).collect()
        };
        assert_eq!(places(6), [0, 1, 2, 0, 1, 2]);
        let failed = |until| State::Closed { failed: Some((refused(), until)) };
        let now = Instant::now();
        *node.links[1].state() = failed(now + Duration::from_secs(3600));
        assert!(!places(9).contains(&1));
        // Then it is tried again.
        *node.links[1].state() = failed(now);
        assert!(places(3).contains(&1));
    }

    #[test]
    fn a_node_is_named_by_its_address() {
        assert_eq!((name("h", 1), name("::1", 6379)), ("h:1".to_owned(), "[::1]:6379".to_owned()));
        assert_eq!(format!("{:?}", idle(1)), "Node(127.0.0.1:1)");
    }

    #[tokio::test]
    async fn a_connection_that_could_not_be_made_is_not_tried_again_for_a_moment() {
        let node = served().await;
        let failed = |until| *node.links[0].state() = State::Closed { failed: Some((refused(), until)) };
        failed(Instant::now() + Duration::from_secs(3600));
        assert_eq!(node.open().await.unwrap_err().error.message(), "refused");
        failed(Instant::now());
        assert!(node.open().await.is_ok());

        // Nobody listens there.
        let node = idle(1);
        let before = Instant::now();
        assert!(node.open().await.is_err());
        let State::Closed { failed: Some((_, until)) } = &*node.links[0].state() else { panic!() };
        assert!(*until >= before + PAUSE);
    }

    #[tokio::test]
    async fn a_connection_is_given_up_once_and_ends_for_good() {
        let node = served().await;
        node.open().await.unwrap();
        let first = connection(&node).unwrap();
        node.links[0].discard(&first);
        assert!(!is_connected(&node));
        node.open().await.unwrap();
        // Another has taken its place.
        node.links[0].discard(&first);
        assert!(is_connected(&node));
        node.reset();
        assert!(!is_connected(&node) && is_open(&node));
        node.ask(ping(), soon()).await.unwrap();
        node.end();
        assert!(!is_open(&node));
        let failure = node.ask(ping(), soon()).await.unwrap_err();
        assert!(failure.error.message().contains("the store is closed"), "{failure:?}");
        node.reset();
        assert!(!is_open(&node));
    }

    #[tokio::test]
    async fn a_connection_that_stays_silent_for_too_long_is_given_up() {
        for (response_timeout, stays) in
            [(Duration::from_secs(3600), true), (Duration::from_millis(1), false)]
        {
            let config = RedisConfig { connections: 1, response_timeout, ..RedisConfig::default() };
            let node = node(config, server(|_| None).await);
            node.open().await.unwrap();
            let failure = node.ask(ping(), Instant::now() + Duration::from_millis(20)).await.unwrap_err();
            assert_eq!((failure.error.kind(), failure.in_doubt), (ErrorKind::DeadlineExceeded, true));
            assert_eq!(is_connected(&node), stays);
        }
    }

    #[tokio::test]
    async fn what_was_not_sent_before_the_deadline_is_not_in_doubt() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = node(RedisConfig::default(), silent.local_addr().unwrap().port());
        let failure = node.ask(ping(), Instant::now() + Duration::from_millis(20)).await.unwrap_err();
        assert_eq!((failure.error.kind(), failure.in_doubt), (ErrorKind::DeadlineExceeded, false));
    }

    #[tokio::test]
    async fn calls_at_the_same_time_share_a_connection_that_is_being_made() {
        let node = served().await;
        let (first, second) = join(node.links[0].connection(&node), node.links[0].connection(&node)).await;
        assert!(first.unwrap().wire.is_same(&second.unwrap().wire));
    }
}
