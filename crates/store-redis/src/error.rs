//! From the server's and the client's errors to the store's.

use std::io;

use feature_core::{Error, ErrorKind};

/// The backend's name in errors and reports.
pub(crate) const BACKEND: &str = "redis";

/// What is to be done about a request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Tell the caller.
    Fail,
    /// Try again after a while.
    Wait,
    /// Find out again which node it is for, and try again after a while.
    Locate,
    /// The same, over new connections: behind the address there is another server now, or soon.
    Reconnect,
    /// Send it to that node, to which its slot has moved.
    Moved(String, u16),
    /// Send it to that node this once: its slot is on the move.
    Ask(String, u16),
    /// Load the script, and try again.
    Load,
    /// Ask again about this row alone, to learn what is wrong with it.
    Alone,
}

/// A request that failed, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) next: Next,
    /// Whether the server may have carried the request out.
    pub(crate) in_doubt: bool,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>, next: Next) -> Self {
        Self { error: Error::new(kind, message).with_backend(BACKEND), next, in_doubt: false }
    }

    /// No node is known for a key.
    pub(crate) fn homeless() -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "no server is known that owns the key's slot; see to the cluster, or wait for a failover",
            Next::Locate,
        )
    }

    /// The same, from a server that was not known to be part of a cluster.
    pub(crate) fn of_a_cluster(self) -> Self {
        let message = format!(
            "{}: the server is a node of a cluster; say cluster_mode=true, or redis-cluster:",
            self.error.message()
        );
        Self::new(ErrorKind::NotConfigured, message, Next::Fail)
    }

    /// A reply that does not answer the question.
    pub(crate) fn garbled(server: &str) -> Self {
        let message = format!("{server}: the reply makes no sense; report it");
        Self::new(ErrorKind::Internal, message, Next::Fail)
    }

    /// A reply that leaves open what a key holds.
    pub(crate) fn unclear(server: &str) -> Self {
        let message = format!("{server}: its answer leaves open whether there is a record; read it again");
        Self::new(ErrorKind::Unavailable, message, Next::Alone)
    }

    /// The store was closed.
    pub(crate) fn closed() -> Self {
        let message = "the store is closed; connect to it again";
        let error = Error::new(ErrorKind::Unavailable, message).with_retryable(false).with_backend(BACKEND);
        Self { error, next: Next::Fail, in_doubt: false }
    }
}

/// What an error reply of this server means.
pub(crate) fn from_server(error: &[u8], server: &str) -> Failure {
    let error = String::from_utf8_lossy(error);
    let (code, details) = error.split_once(' ').unwrap_or((&error, ""));
    from_reply(code, details, server)
}

/// What an error reply means: its code, which is its first word, and the rest of it.
fn from_reply(code: &str, details: &str, server: &str) -> Failure {
    use ErrorKind as K;
    let said = format!("{code} {details}");
    let said = said.trim();
    let because = |kind, what: &str, next| Failure::new(kind, format!("{server}: {what} ({said})"), next);
    match code {
        "LOADING" => because(K::Unavailable, "the server is loading its data; wait", Next::Wait),
        "MASTERDOWN" => {
            because(K::Unavailable, "the replica has lost its primary; wait for a failover", Next::Locate)
        }
        "CLUSTERDOWN" => {
            because(K::Unavailable, "the cluster does not serve this slot; wait for a failover", Next::Locate)
        }
        "TRYAGAIN" => because(K::Unavailable, "the slot is being moved; try again", Next::Wait),
        "BUSY" => because(
            K::Unavailable,
            "the server is busy with a script; wait, or end it with SCRIPT KILL",
            Next::Wait,
        ),
        "NOREPLICAS" => because(
            K::Unavailable,
            "too few replicas follow for the server's min-replicas-to-write; see to the replicas",
            Next::Wait,
        ),
        "READONLY" => because(
            K::Unavailable,
            "the server is a replica and takes no writes; address the primary",
            Next::Reconnect,
        ),
        "UNBLOCKED" => because(
            K::Unavailable,
            "the server has become a replica before others had confirmed the write; address the primary",
            Next::Reconnect,
        ),
        "MOVED" | "ASK" => redirected(code, details, server, said),
        "NOSCRIPT" => because(K::Unavailable, "the server has forgotten the script; try again", Next::Load),
        "OOM" => because(
            K::Throttled,
            "the server is out of memory; raise maxmemory, remove records, or give them a TTL",
            Next::Fail,
        ),
        "MISCONF" => because(
            K::Throttled,
            "the server takes no writes because it cannot save to disk; see its log",
            Next::Fail,
        ),
        "WRONGTYPE" => because(
            K::Corrupt,
            "the key holds no string, so another program uses it; remove it, or choose another key_prefix",
            Next::Fail,
        ),
        "NOAUTH" => because(K::Unauthenticated, "the server wants a password", Next::Fail),
        "WRONGPASS" => {
            because(K::Unauthenticated, "wrong user or password, or a user that is off", Next::Fail)
        }
        "NOPERM" => because(
            K::PermissionDenied,
            "the user lacks a right; grant what docs/redis.md lists with ACL SETUSER",
            Next::Fail,
        ),
        "DENIED" => because(K::PermissionDenied, "the server refuses this connection", Next::Fail),
        "ERR" => from_err(details, &because),
        _ => because(K::Internal, "an error reply that this software does not know; report it", Next::Fail),
    }
}

/// `ERR` is many errors, told apart by their texts alone.
fn from_err(details: &str, because: &dyn Fn(ErrorKind, &str, Next) -> Failure) -> Failure {
    use ErrorKind as K;
    let text = details.to_ascii_lowercase();
    let says = |part: &str| text.contains(part);
    if says("max number of clients") {
        because(K::Throttled, "the server has no room for more connections; raise maxclients", Next::Wait)
    } else if says("cluster support disabled") {
        because(K::NotConfigured, "the server is no cluster; leave cluster_mode out", Next::Fail)
    } else if says("db index") || says("select is not allowed") {
        because(K::NotConfigured, "the server does not have this database; see `databases`", Next::Fail)
    } else if says("invalid password") || says("auth") {
        because(K::Unauthenticated, "the server does not accept the credentials", Next::Fail)
    } else if says("unknown command") {
        because(K::Unsupported, "the server lacks a command; Redis 6.2 or later has it", Next::Fail)
    } else if says("no such master") {
        because(K::NotConfigured, "Sentinel watches no primary of this service_name", Next::Fail)
    } else {
        because(K::Internal, "the server refused the command; report it", Next::Fail)
    }
}

/// `MOVED 3999 127.0.0.1:6381`, and `ASK` likewise.
fn redirected(code: &str, details: &str, server: &str, said: &str) -> Failure {
    let failure = |next| {
        Failure::new(
            ErrorKind::Unavailable,
            format!("{server}: the slot has moved ({said}); try again"),
            next,
        )
    };
    let target = details.split_whitespace().nth(1).and_then(|address| address.rsplit_once(':'));
    let Some((host, port)) = target.and_then(|(host, port)| Some((host, port.parse().ok()?))) else {
        return failure(Next::Locate);
    };
    // Without a host it is the one that answered, at another port.
    let host = match host.trim_matches(['[', ']']) {
        "" | "?" => server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']),
        host => host,
    };
    let host = host.to_owned();
    failure(if code == "ASK" { Next::Ask(host, port) } else { Next::Moved(host, port) })
}

/// What a failure of a connection to this server means; `sent` says whether the request may have reached it.
pub(crate) fn from_client(error: &io::Error, server: &str, sent: bool) -> Failure {
    use io::ErrorKind as E;
    let at = |kind, what: &str, next| Failure::new(kind, format!("{server}: {what}: {error}"), next);
    let failure = match error.kind() {
        _ if is_certificate(error) => at(
            ErrorKind::Unauthenticated,
            "no encrypted connection: see to the certificates, tls_ca, tls_cert and tls_key",
            Next::Fail,
        ),
        E::TimedOut => at(ErrorKind::Unavailable, "the server does not answer", Next::Locate),
        E::InvalidInput => at(ErrorKind::InvalidArgument, "impossible settings", Next::Fail),
        // Also where it speaks another protocol.
        E::InvalidData => at(ErrorKind::Internal, "not understood", Next::Fail),
        _ => at(ErrorKind::Unavailable, "no connection", Next::Locate),
    };
    Failure { in_doubt: sent, ..failure }
}

/// Whether the other side of an encrypted connection was refused, or refused this one.
fn is_certificate(error: &io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::AlertReceived(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::UnsupportedNameType
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_kind_and_says_whether_to_try_again() {
        use ErrorKind as K;
        let locate = || Next::Locate;
        for (reply, kind, retryable, next) in [
            ("LOADING Redis is loading the dataset in memory", K::Unavailable, true, Next::Wait),
            ("MASTERDOWN Link with MASTER is down", K::Unavailable, true, locate()),
            ("CLUSTERDOWN The cluster is down", K::Unavailable, true, locate()),
            ("CLUSTERDOWN Hash slot not served", K::Unavailable, true, locate()),
            ("TRYAGAIN Multiple keys request during rehashing of slot", K::Unavailable, true, Next::Wait),
            ("BUSY Redis is busy running a script.", K::Unavailable, true, Next::Wait),
            ("NOREPLICAS Not enough good replicas to write.", K::Unavailable, true, Next::Wait),
            ("READONLY You can't write against a read only replica.", K::Unavailable, true, Next::Reconnect),
            ("UNBLOCKED force unblock from blocking operation", K::Unavailable, true, Next::Reconnect),
            ("MOVED 3999 127.0.0.1:6381", K::Unavailable, true, Next::Moved("127.0.0.1".to_owned(), 6381)),
            ("MOVED 3999 :6381", K::Unavailable, true, Next::Moved("h".to_owned(), 6381)),
            ("MOVED 3999 ?:6381", K::Unavailable, true, Next::Moved("h".to_owned(), 6381)),
            ("ASK 3999 [::1]:6381", K::Unavailable, true, Next::Ask("::1".to_owned(), 6381)),
            ("MOVED nonsense", K::Unavailable, true, locate()),
            ("NOSCRIPT No matching script.", K::Unavailable, true, Next::Load),
            ("OOM command not allowed when used memory > 'maxmemory'.", K::Throttled, true, Next::Fail),
            ("MISCONF Redis is configured to save RDB snapshots", K::Throttled, true, Next::Fail),
            ("WRONGTYPE Operation against a key", K::Corrupt, false, Next::Fail),
            ("NOAUTH Authentication required.", K::Unauthenticated, false, Next::Fail),
            ("WRONGPASS invalid username-password pair", K::Unauthenticated, false, Next::Fail),
            ("NOPERM User app has no permissions to run", K::PermissionDenied, false, Next::Fail),
            ("DENIED Redis is running in protected mode", K::PermissionDenied, false, Next::Fail),
            ("CROSSSLOT Keys in request don't hash to the same slot", K::Internal, false, Next::Fail),
            ("ERR max number of clients reached", K::Throttled, true, Next::Wait),
            ("ERR This instance has cluster support disabled", K::NotConfigured, false, Next::Fail),
            ("ERR DB index is out of range", K::NotConfigured, false, Next::Fail),
            ("ERR SELECT is not allowed in cluster mode", K::NotConfigured, false, Next::Fail),
            ("ERR invalid password", K::Unauthenticated, false, Next::Fail),
            ("ERR Client sent AUTH, but no password is set", K::Unauthenticated, false, Next::Fail),
            ("ERR unknown command 'EVALSHA'", K::Unsupported, false, Next::Fail),
            ("ERR No such master with that name", K::NotConfigured, false, Next::Fail),
            ("ERR syntax error", K::Internal, false, Next::Fail),
        ] {
            let (code, details) = reply.split_once(' ').unwrap();
            let failure = from_reply(code, details, "h:1");
            assert_eq!((failure.error.kind(), &failure.next), (kind, &next), "{reply}");
            assert_eq!(failure.error.is_retryable(), retryable, "{reply}");
            assert!(failure.error.message().contains("h:1"), "{reply}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_a_request_that_was_sent_in_doubt() {
        for sent in [false, true] {
            let reset = io::Error::from(io::ErrorKind::ConnectionReset);
            let failure = from_client(&reset, "h:1", sent);
            assert_eq!((failure.error.kind(), failure.in_doubt), (ErrorKind::Unavailable, sent));
        }
    }

    #[test]
    fn each_failure_of_a_connection_has_its_kind_and_says_whether_to_try_again() {
        use io::ErrorKind as E;
        let stranger = rustls::Error::NoCertificatesPresented;
        for (error, kind, next) in [
            (E::TimedOut.into(), ErrorKind::Unavailable, Next::Locate),
            (E::ConnectionRefused.into(), ErrorKind::Unavailable, Next::Locate),
            (E::InvalidInput.into(), ErrorKind::InvalidArgument, Next::Fail),
            (E::InvalidData.into(), ErrorKind::Internal, Next::Fail),
            (io::Error::new(E::InvalidData, stranger), ErrorKind::Unauthenticated, Next::Fail),
            (io::Error::new(E::InvalidData, rustls::Error::DecryptError), ErrorKind::Internal, Next::Fail),
        ] {
            let failure = from_client(&error, "h:1", false);
            assert_eq!((failure.error.kind(), failure.next), (kind, next), "{error:?}");
            assert!(failure.error.message().contains("h:1"), "{error:?}");
        }
        let late = from_client(&E::TimedOut.into(), "h:1", false);
        assert!(late.error.message().contains("does not answer"), "{late:?}");
    }
}
