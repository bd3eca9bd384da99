//! Sending rows: one request to each server, again for the rows that were refused for a moment, and never
//! beyond the call's deadline.

use std::time::Duration;

use aerospike::{
    BatchOperation, BatchPolicy, BatchReadPolicy, Bins, Client, ErrorKind as Native, Key, ReadPolicy, Record,
    Replica, ResultCode,
};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use feature_core::{CallContext, Error, Result};
use tokio::time::Instant;

use crate::config::{AerospikeConfig, millis};
use crate::error::{from_client, out_of_time, unanswered};

/// How long before the deadline a request gives up at most, so that its rows still have an outcome each
/// when the caller stops waiting.
const MARGIN: Duration = Duration::from_millis(20);
/// How large a request may be, in bytes. The server takes 128 MiB.
const MAX_REQUEST_BYTES: usize = 8 << 20;

/// What became of a row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) answer: Answer,
    /// Whether an attempt before the one that was answered may have taken effect.
    pub(crate) doubt: bool,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most answers are records; a box would cost each an allocation"
)]
pub(crate) enum Answer {
    /// It was done. A read has the record.
    Done(Record),
    /// The server has answered with this code: what that means depends on the row.
    Code(ResultCode, aerospike::Error),
    /// It could not be done.
    Failed(Error),
}

impl Row {
    /// A row that there was no time for.
    fn late() -> Self {
        Self { answer: Answer::Failed(out_of_time()), doubt: false }
    }
}

/// Sends rows in batches.
pub(crate) struct Sender<'a> {
    pub(crate) client: &'a Client,
    pub(crate) config: &'a AerospikeConfig,
    pub(crate) call: CallContext,
    /// Whether the rows change something.
    pub(crate) writes: bool,
}

impl Sender<'_> {
    /// Sends `count` rows, made by `make` from their number, as often as it takes. `bytes` is about how
    /// large a row is.
    pub(crate) async fn send(
        &self,
        count: usize,
        bytes: impl Fn(usize) -> usize,
        mut make: impl FnMut(usize) -> Result<BatchOperation>,
    ) -> Vec<Row> {
        let mut rows: Vec<Option<Row>> = Vec::new();
        rows.resize_with(count, || None);
        let mut open: Vec<usize> = (0..count).collect();
        let mut delays = None;
        loop {
            let mut again = Vec::new();
            let mut rest = &open[..];
            while !rest.is_empty() {
                let part;
                (part, rest) = rest.split_at(fitting(rest, self.config.batch_rows, &bytes));
                // Without time for a request, the rows stay as they are.
                let Some(allowed) = allowance(self.left()) else { break };
                let policy = policy(self.config, self.writes, allowed);
                let mut request = Request::new(part, &mut make);
                request.error = self.client.batch(&policy, &mut request.ops).await.err();
                self.settle(request, &mut rows, &mut again);
            }
            open = again;
            if open.is_empty() {
                break;
            }
            let delays = delays.get_or_insert_with(|| backoff(self.config.max_retries));
            let Some(delay) = next(delays, self.left()) else { break };
            tokio::time::sleep(delay).await;
        }
        rows.into_iter().map(|row| row.unwrap_or_else(Row::late)).collect()
    }

    /// Takes note of what became of a request's rows. Adds to `again` what may be taken in a moment.
    fn settle(&self, mut request: Request, rows: &mut [Option<Row>], again: &mut Vec<usize>) {
        let errors = request.ops.iter().filter_map(BatchOperation::error);
        let whole = errors.into_iter().find(|error| error.matches(&WHOLE)).cloned();
        let cause = request.error.or(whole);
        for (number, op) in request.rows.into_iter().zip(&mut request.ops) {
            let doubt = rows[number].take().is_some_and(|row| row.doubt);
            let (row, transient) = self.row(op, doubt, cause.as_ref());
            rows[number] = Some(row);
            if transient {
                again.push(number);
            }
        }
        for (number, error) in request.unsent {
            rows[number] = Some(Row { answer: Answer::Failed(error), doubt: false });
        }
    }

    /// Reads one record. It is sent alone, without what a batch costs; should that fail, as one of one.
    pub(crate) async fn read_one(&self, key: impl Fn() -> Result<Key>) -> Row {
        if let (Some(allowed), Ok(key)) = (allowance(self.left()), key()) {
            let policy = ReadPolicy { base_policy: policy(self.config, self.writes, allowed).base_policy };
            match self.client.get(&policy, &key, Bins::All).await {
                Ok(record) => return Row { answer: Answer::Done(record), doubt: false },
                Err(error) if !is_transient(error.server_result_code(), error.kind()) => {
                    return self.failed(&error, false).0;
                }
                Err(_) => {}
            }
        }
        let read = |_| Ok(BatchOperation::read(&BatchReadPolicy::default(), key()?, Bins::All));
        Box::pin(self.send(1, |_| 0, read)).await.pop().unwrap_or_else(Row::late)
    }

    /// How long it is until the deadline.
    fn left(&self) -> Duration {
        self.call.deadline.saturating_duration_since(Instant::now())
    }

    /// What became of a row that was sent, and whether it is worth sending again.
    fn row(&self, op: &mut BatchOperation, doubt: bool, cause: Option<&aerospike::Error>) -> (Row, bool) {
        if let Some(record) = op.take_record() {
            return (Row { answer: Answer::Done(record), doubt }, false);
        }
        // A row without an answer of its own shares the fate of the whole request.
        let Some(error) = op.error().or(cause) else {
            // Nobody knows how far the server came.
            let failed = Answer::Failed(unanswered().with_in_doubt(self.writes));
            return (Row { answer: failed, doubt: self.writes }, true);
        };
        self.failed(error, doubt)
    }

    /// What an error means for a row, and whether it is worth sending again.
    fn failed(&self, error: &aerospike::Error, doubt: bool) -> (Row, bool) {
        let (code, kind) = (error.server_result_code(), error.kind());
        let doubt = is_in_doubt(doubt, error.in_doubt(), self.writes, is_late(code, kind));
        let answer = match code {
            Some(code) => Answer::Code(code, error.clone()),
            None => Answer::Failed(from_client(error, &self.config.namespace).with_in_doubt(doubt)),
        };
        (Row { answer, doubt }, is_transient(code, kind))
    }
}

/// How long a request may take with this much left until the deadline; `None` when that is too little for one.
fn allowance(left: Duration) -> Option<Duration> {
    let allowed = left - MARGIN.min(left / 10);
    (allowed >= Duration::from_millis(1)).then_some(allowed)
}

/// How to send a request that may take this long.
fn policy(config: &AerospikeConfig, writes: bool, allowed: Duration) -> BatchPolicy {
    let mut policy = BatchPolicy::default();
    policy.base_policy.total_timeout = millis(allowed);
    policy.base_policy.socket_timeout = millis(config.socket_timeout);
    if writes {
        // What the client sends again by itself, it forgets to be in doubt about: rows that then have no
        // server, or another answer. So each attempt is one of ours.
        policy.base_policy.max_retries = 0;
    }
    if !config.racks.is_empty() {
        policy.base_policy.replica = Replica::PreferRack;
    }
    policy
}

/// How long to wait before rows are sent again, the first time, the second, and so on.
fn backoff(max_retries: usize) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(2))
        .with_max_delay(Duration::from_millis(200))
        .with_max_times(max_retries)
        .with_jitter()
        .build()
}

/// The next of the delays, if it ends before the deadline, until which this much is left.
fn next(mut delays: impl Iterator<Item = Duration>, left: Duration) -> Option<Duration> {
    delays.next().filter(|delay| *delay < left)
}

/// How many of the rows go into one request.
fn fitting(rows: &[usize], most_rows: usize, bytes: impl Fn(usize) -> usize) -> usize {
    let mut total = 0;
    let fits = |row: &&usize| {
        total += bytes(**row);
        total <= MAX_REQUEST_BYTES
    };
    rows.iter().take(most_rows).take_while(fits).count().max(1)
}

/// A request, and its answers when it is done.
struct Request {
    /// Numbers of the rows.
    rows: Vec<usize>,
    /// The rows themselves.
    ops: Vec<BatchOperation>,
    /// What went wrong as a whole.
    error: Option<aerospike::Error>,
    /// Rows that could not be made.
    unsent: Vec<(usize, Error)>,
}

impl Request {
    fn new(part: &[usize], mut make: impl FnMut(usize) -> Result<BatchOperation>) -> Self {
        let count = part.len();
        let mut request = Self {
            rows: Vec::with_capacity(count),
            ops: Vec::with_capacity(count),
            error: None,
            unsent: Vec::new(),
        };
        for row in part {
            match make(*row) {
                Ok(op) => {
                    request.rows.push(*row);
                    request.ops.push(op);
                }
                Err(error) => request.unsent.push((*row, error)),
            }
        }
        request
    }
}

/// Codes with which the server refuses a request as a whole, in the place of the first row's.
const WHOLE: [ResultCode; 3] =
    [ResultCode::BatchDisabled, ResultCode::BatchMaxRequestsExceeded, ResultCode::BatchQueuesFull];

/// Codes of refusals that pass by themselves.
const TRANSIENT: [ResultCode; 6] = [
    ResultCode::KeyBusy,
    ResultCode::DeviceOverload,
    ResultCode::Timeout,
    ResultCode::PartitionUnavailable,
    ResultCode::ClusterKeyMismatch,
    ResultCode::BatchQueuesFull,
];

/// Whether a row that failed so may have taken effect: an attempt before may have, or the client says so.
/// Of a row that was late the client does not say so: a server that gives up waiting for the other copies, or
/// is given up on, may have stored it.
fn is_in_doubt(before: bool, said: bool, writes: bool, late: bool) -> bool {
    before || said || (writes && late)
}

fn is_late(code: Option<ResultCode>, kind: &Native) -> bool {
    code == Some(ResultCode::Timeout) || matches!(kind, Native::Timeout)
}

/// Whether the same row may be taken in a moment. Writes are idempotent, so that even one which may have
/// taken effect can be sent again.
fn is_transient(code: Option<ResultCode>, kind: &Native) -> bool {
    match code {
        Some(code) => TRANSIENT.contains(&code),
        None => matches!(
            kind,
            Native::Timeout
                | Native::Connection
                | Native::ConnectionPoolEmpty
                | Native::NoMoreConnections
                | Native::MaxErrorRate
                | Native::InvalidNode
                | Native::Io(_)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_leaves_a_tenth_of_the_time_or_the_margin_and_needs_a_millisecond() {
        for (left, allowed) in [
            (Duration::ZERO, None),
            (Duration::from_nanos(1_111_110), None),
            (Duration::from_nanos(1_111_111), Some(Duration::from_millis(1))),
            (Duration::from_millis(100), Some(Duration::from_millis(90))),
            (Duration::from_millis(200), Some(Duration::from_millis(180))),
            (Duration::from_millis(300), Some(Duration::from_millis(280))),
            (Duration::from_secs(60), Some(Duration::from_millis(59_980))),
        ] {
            assert_eq!(allowance(left), allowed, "{left:?}");
        }
    }

    #[test]
    fn reads_prefer_racks_if_there_are_any_and_the_client_repeats_no_writes() {
        let mut config =
            AerospikeConfig { socket_timeout: Duration::from_millis(70), ..AerospikeConfig::default() };
        let of = |config: &_, writes| policy(config, writes, Duration::from_millis(300)).base_policy;
        let default = BatchPolicy::default().base_policy;
        let read = of(&config, false);
        assert_eq!((read.total_timeout, read.socket_timeout), (300, 70));
        assert_eq!((read.max_retries, read.replica), (default.max_retries, default.replica));
        assert!(default.max_retries > 0);
        let write = of(&config, true);
        assert_eq!((write.total_timeout, write.socket_timeout, write.max_retries), (300, 70, 0));
        config.racks = vec![2];
        assert_eq!(of(&config, false).replica, Replica::PreferRack);
    }

    #[test]
    fn there_are_as_many_delays_as_retries_and_the_last_ends_before_the_deadline() {
        assert_eq!(backoff(0).count(), 0);
        assert_eq!(backoff(3).count(), 3);
        assert!(backoff(20).all(|delay| delay >= Duration::from_millis(2)));
        let delay = Duration::from_millis(5);
        for (delays, left, expected) in [
            (vec![delay, delay * 9], delay + Duration::from_nanos(1), Some(delay)),
            (vec![delay], delay, None),
            (vec![delay], Duration::ZERO, None),
            (vec![], delay, None),
        ] {
            assert_eq!(next(delays.clone().into_iter(), left), expected, "{delays:?} {left:?}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_sent_again() {
        use ResultCode as C;
        let io = || Native::Io(std::io::ErrorKind::ConnectionReset.into());
        for (code, kind, transient, late) in [
            (Some(C::KeyBusy), Native::Client, true, false),
            (Some(C::DeviceOverload), Native::Client, true, false),
            (Some(C::Timeout), Native::Client, true, true),
            (Some(C::PartitionUnavailable), Native::Client, true, false),
            (Some(C::ClusterKeyMismatch), Native::Client, true, false),
            (Some(C::BatchQueuesFull), Native::Client, true, false),
            (Some(C::KeyNotFoundError), Native::Client, false, false),
            (Some(C::ServerMemError), Native::Client, false, false),
            // The client gave up, and the last that it heard of a server was this.
            (Some(C::KeyNotFoundError), Native::Timeout, false, true),
            (None, Native::Timeout, true, true),
            (None, Native::Connection, true, false),
            (None, Native::ConnectionPoolEmpty, true, false),
            (None, Native::NoMoreConnections, true, false),
            (None, Native::MaxErrorRate, true, false),
            (None, Native::InvalidNode, true, false),
            (None, io(), true, false),
            (None, Native::Client, false, false),
            (None, Native::InvalidArgument, false, false),
        ] {
            assert_eq!(is_transient(code, &kind), transient, "{code:?} {kind:?}");
            assert_eq!(is_late(code, &kind), late, "{code:?} {kind:?}");
        }
    }

    #[test]
    fn doubt_remains_and_a_write_that_was_late_is_in_doubt() {
        for (before, said, writes, late, doubt) in [
            (false, false, false, false, false),
            (true, false, false, false, true),
            (false, true, false, false, true),
            (false, false, true, false, false),
            (false, false, false, true, false),
            (false, false, true, true, true),
        ] {
            let found = is_in_doubt(before, said, writes, late);
            assert_eq!(found, doubt, "before {before}, said {said}, writes {writes}, late {late}");
        }
    }

    #[test]
    fn a_request_has_as_many_rows_as_fit_and_at_least_one() {
        const MIB: usize = 1 << 20;
        for (sizes, most_rows, expected) in [
            (vec![1, 1, 1], 2, 2),
            (vec![1, 1, 1], 3, 3),
            (vec![1, 1, 1], 9, 3),
            (vec![4 * MIB, 4 * MIB, 0], 9, 3),
            (vec![4 * MIB, 4 * MIB + 1, 0], 9, 1),
            (vec![4 * MIB, 4 * MIB, 1], 9, 2),
            // Alone it is too large; the server, not the sender, is to say so.
            (vec![8 * MIB + 1, 1], 9, 1),
        ] {
            let rows: Vec<usize> = (0..sizes.len()).collect();
            assert_eq!(fitting(&rows, most_rows, |row| sizes[row]), expected, "{sizes:?}");
        }
    }
}
