//! From the client's errors, and the server's codes in them, to the store's.

use aerospike::{ErrorKind as Native, ResultCode};
use feature_core::{Error, ErrorKind};

pub(crate) const BACKEND: &str = "aerospike";

/// What an error means. `namespace` is the one it happened in.
pub(crate) fn from_client(error: &aerospike::Error, namespace: &str) -> Error {
    let (kind, message) = match error.server_result_code() {
        Some(code) => from_code(code, error, namespace),
        None => from_kind(error),
    };
    Error::new(kind, message).with_in_doubt(error.in_doubt()).with_backend(BACKEND).with_source(error.clone())
}

fn from_code(code: ResultCode, error: &aerospike::Error, namespace: &str) -> (ErrorKind, String) {
    use ErrorKind as K;
    use ResultCode as C;
    let ns = format!("the namespace `{namespace}`");
    let text = error.base_message();
    match code {
        C::ServerMemError => (
            K::Throttled,
            format!("{ns} takes no writes (stop-writes): it is full; let records expire, or give it more memory or disk"),
        ),
        C::DeviceOverload => (
            K::Throttled,
            format!("the storage of {ns} does not keep up with the writes; slow down, or give it faster disks"),
        ),
        C::KeyBusy | C::XdrKeyBusy => {
            (K::Throttled, "too many calls wait for this one record; spread the load, or slow down".to_owned())
        }
        C::BatchQueuesFull | C::QueryQueueFull => {
            (K::Throttled, "the server has too many requests waiting; slow down".to_owned())
        }
        C::QuotaExceeded => (K::Throttled, "the user's quota of calls is used up; slow down, or raise it".to_owned()),
        C::Timeout | C::QueryTimeout => {
            (K::DeadlineExceeded, "the server ran out of time before it was done".to_owned())
        }
        C::PartitionUnavailable | C::ClusterKeyMismatch | C::ScanAbort | C::QueryAborted | C::QueryNetioErr => {
            (K::Unavailable, format!("a part of {ns} has no server just now: {text}"))
        }
        C::RecordTooBig => (
            K::LimitExceeded,
            format!("the record is larger than {ns} allows; send less, or raise its max-record-size"),
        ),
        C::BatchMaxRequestsExceeded => (
            K::LimitExceeded,
            "the request has more rows than the server's batch-max-requests; lower batch_rows, or raise that limit"
                .to_owned(),
        ),
        C::InvalidNamespace => (
            K::NotConfigured,
            format!("{ns} does not exist on the server; add it to the configuration, or name another"),
        ),
        C::FailForbidden => (
            K::NotConfigured,
            format!("{ns} forbids the call; see its stop-writes, truncation and nsup settings"),
        ),
        C::AlwaysForbidden => (K::NotConfigured, format!("the configuration of {ns} rules the call out: {text}")),
        C::BatchDisabled => (K::NotConfigured, "the server has batches switched off; switch them on".to_owned()),
        C::SecurityNotEnabled | C::SecurityNotSupported | C::SecuritySchemeNotSupported => (
            K::NotConfigured,
            "the server knows no users: leave out user and password, or enable its security".to_owned(),
        ),
        C::UnsupportedFeature | C::EnterpriseOnly => {
            (K::Unsupported, format!("this server, or its edition, cannot do that: {text}"))
        }
        C::NotAuthenticated
        | C::InvalidUser
        | C::InvalidPassword
        | C::InvalidCredential
        | C::ExpiredPassword
        | C::ForbiddenPassword
        | C::ExpiredSession => {
            (K::Unauthenticated, format!("the server does not accept the user or the password: {text}"))
        }
        C::RoleViolation | C::NotAllowlisted => {
            (K::PermissionDenied, format!("the user lacks a right: {text}; grant it"))
        }
        _ => (K::Internal, format!("the server answers with code {}: {text}", u8::from(code))),
    }
}

fn from_kind(error: &aerospike::Error) -> (ErrorKind, String) {
    // After the last of several attempts the client says "timeout"; what happened in them is the cause.
    let mut chain = std::iter::successors(Some(error), |error| error.cause());
    let cause = chain.find(|error| !matches!(error.kind(), Native::Timeout | Native::Client));
    let timed_out = cause.is_none() && error.is_client_timeout();
    cause
        .and_then(|cause| from_cause(cause.kind(), cause.base_message()))
        .unwrap_or_else(|| without_cause(timed_out, &error.base_message()))
}

/// What an error means that has this cause, if that is known.
fn from_cause(cause: &Native, text: String) -> Option<(ErrorKind, String)> {
    use ErrorKind as K;
    let meaning = match cause {
        Native::Connection | Native::Io(_) | Native::InvalidNode | Native::ConnectionPoolEmpty => {
            (K::Unavailable, format!("the cluster cannot be reached: {text}"))
        }
        Native::MaxErrorRate => {
            (K::Unavailable, format!("a server failed too often and is left alone for a moment: {text}"))
        }
        Native::NoMoreConnections => (
            K::Throttled,
            "all connections to the server are in use; slow down, or raise max_connections".to_owned(),
        ),
        Native::InvalidNamespace => (
            K::NotConfigured,
            format!("{text}; add the namespace to the servers' configuration, or name another"),
        ),
        Native::InvalidArgument => (K::InvalidArgument, text),
        Native::StreamTerminated => (K::Unavailable, text),
        _ => return None,
    };
    Some(meaning)
}

fn without_cause(timed_out: bool, text: &str) -> (ErrorKind, String) {
    if timed_out {
        (ErrorKind::DeadlineExceeded, format!("no answer in time: {text}"))
    } else {
        (ErrorKind::Internal, format!("the client gave up: {text}"))
    }
}

/// The store was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed; connect again")
        .with_retryable(false)
        .with_backend(BACKEND)
}

/// A call ran out of time.
pub(crate) fn out_of_time() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the call's deadline passed before the server answered")
        .with_backend(BACKEND)
}

/// The server left a row of a batch without a word.
pub(crate) fn unanswered() -> Error {
    Error::new(ErrorKind::Unavailable, "the server gave no answer for the row").with_backend(BACKEND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_says_what_to_do() {
        use ErrorKind as K;
        use ResultCode as C;
        let native = aerospike::Error::client_error("because");
        for (code, kind, words) in [
            (C::ServerMemError, K::Throttled, "stop-writes"),
            (C::DeviceOverload, K::Throttled, "slow down"),
            (C::KeyBusy, K::Throttled, "this one record"),
            (C::XdrKeyBusy, K::Throttled, "this one record"),
            (C::BatchQueuesFull, K::Throttled, "requests waiting"),
            (C::QueryQueueFull, K::Throttled, "requests waiting"),
            (C::QuotaExceeded, K::Throttled, "quota"),
            (C::Timeout, K::DeadlineExceeded, "ran out of time"),
            (C::QueryTimeout, K::DeadlineExceeded, "ran out of time"),
            (C::PartitionUnavailable, K::Unavailable, "`ns` has no server just now: because"),
            (C::ClusterKeyMismatch, K::Unavailable, "no server just now"),
            (C::ScanAbort, K::Unavailable, "no server just now"),
            (C::QueryAborted, K::Unavailable, "no server just now"),
            (C::QueryNetioErr, K::Unavailable, "no server just now"),
            (C::RecordTooBig, K::LimitExceeded, "max-record-size"),
            (C::BatchMaxRequestsExceeded, K::LimitExceeded, "batch_rows"),
            (C::InvalidNamespace, K::NotConfigured, "`ns` does not exist"),
            (C::FailForbidden, K::NotConfigured, "forbids"),
            (C::AlwaysForbidden, K::NotConfigured, "rules the call out: because"),
            (C::BatchDisabled, K::NotConfigured, "switch them on"),
            (C::SecurityNotEnabled, K::NotConfigured, "leave out user"),
            (C::SecurityNotSupported, K::NotConfigured, "leave out user"),
            (C::SecuritySchemeNotSupported, K::NotConfigured, "leave out user"),
            (C::EnterpriseOnly, K::Unsupported, "edition, cannot do that: because"),
            (C::UnsupportedFeature, K::Unsupported, "edition"),
            (C::NotAuthenticated, K::Unauthenticated, "password: because"),
            (C::InvalidUser, K::Unauthenticated, "password"),
            (C::InvalidPassword, K::Unauthenticated, "password"),
            (C::InvalidCredential, K::Unauthenticated, "password"),
            (C::ExpiredPassword, K::Unauthenticated, "password"),
            (C::ForbiddenPassword, K::Unauthenticated, "password"),
            (C::ExpiredSession, K::Unauthenticated, "password"),
            (C::RoleViolation, K::PermissionDenied, "a right: because; grant it"),
            (C::NotAllowlisted, K::PermissionDenied, "grant"),
            (C::BinTypeError, K::Internal, "code 12: because"),
        ] {
            let (found, message) = from_code(code, &native, "ns");
            assert_eq!(found, kind, "{code:?}");
            assert!(message.contains(words), "{code:?}: {message}");
        }
    }

    #[test]
    fn each_cause_says_what_to_do() {
        use ErrorKind as K;
        let io = Native::Io(std::io::ErrorKind::BrokenPipe.into());
        for (cause, kind, words) in [
            (Native::Connection, K::Unavailable, "the cluster cannot be reached: because"),
            (io, K::Unavailable, "the cluster cannot be reached: because"),
            (Native::InvalidNode, K::Unavailable, "the cluster cannot be reached: because"),
            (Native::ConnectionPoolEmpty, K::Unavailable, "the cluster cannot be reached: because"),
            (Native::MaxErrorRate, K::Unavailable, "left alone for a moment: because"),
            (Native::NoMoreConnections, K::Throttled, "raise max_connections"),
            (Native::InvalidNamespace, K::NotConfigured, "because; add the namespace"),
            (Native::InvalidArgument, K::InvalidArgument, "because"),
            (Native::StreamTerminated, K::Unavailable, "because"),
        ] {
            let (found, message) = from_cause(&cause, "because".to_owned()).unwrap();
            assert_eq!(found, kind, "{cause:?}");
            assert!(message.contains(words), "{cause:?}: {message}");
        }
        assert_eq!(from_cause(&Native::BadResponse, "because".to_owned()), None);
        let late = (K::DeadlineExceeded, "no answer in time: because".to_owned());
        assert_eq!(without_cause(true, "because"), late);
        assert_eq!(without_cause(false, "because"), (K::Internal, "the client gave up: because".to_owned()));
    }

    #[test]
    fn an_error_means_what_its_first_cause_does() {
        use ErrorKind as K;
        let reset = || aerospike::Error::from(std::io::Error::other("reset"));
        let number = || aerospike::Error::from("x".parse::<u8>().unwrap_err());
        for (native, kind, words) in [
            (aerospike::Error::invalid_argument("a bad key"), K::InvalidArgument, "a bad key"),
            (aerospike::Error::client_error("no reason"), K::Internal, "the client gave up: no reason"),
            (reset(), K::Unavailable, "reset"),
            (reset().chain_error("the second").chain_error("the first"), K::Unavailable, "reset"),
            (number().chain_error("an odd answer"), K::Internal, "the client gave up: an odd answer"),
        ] {
            let error = from_client(&native, "ns");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(words) && !error.in_doubt(), "{error}");
            assert_eq!(error.backend(), Some(BACKEND));
        }
    }

    #[test]
    fn the_store_s_own_errors_say_what_has_happened() {
        for (error, kind, retryable, words) in [
            (closed(), ErrorKind::Unavailable, false, "the store is closed; connect again"),
            (out_of_time(), ErrorKind::DeadlineExceeded, true, "deadline passed"),
            (unanswered(), ErrorKind::Unavailable, true, "no answer for the row"),
        ] {
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error}");
            assert!(error.message().contains(words), "{error}");
            assert_eq!((error.backend(), error.in_doubt()), (Some(BACKEND), false), "{error}");
        }
    }
}
