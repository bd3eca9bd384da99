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
                let Some(policy) = self.policy() else { break };
                let mut request = Request::new(part, &mut make);
                request.error = self.client.batch(&policy, &mut request.ops).await.err();
                self.settle(request, &mut rows, &mut again);
            }
            open = again;
            if open.is_empty() {
                break;
            }
            match delays.get_or_insert_with(|| self.delays()).next() {
                Some(delay) if Instant::now() + delay < self.call.deadline => tokio::time::sleep(delay).await,
                _ => break,
            }
        }
        rows.into_iter().map(|row| row.unwrap_or_else(Row::late)).collect()
    }

    /// How long to wait before rows are sent again, the first time, the second, and so on.
    fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(2))
            .with_max_delay(Duration::from_millis(200))
            .with_max_times(self.config.max_retries)
            .with_jitter()
            .build()
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
        if let (Some(policy), Ok(key)) = (self.policy(), key()) {
            let policy = ReadPolicy { base_policy: policy.base_policy };
            match self.client.get(&policy, &key, Bins::All).await {
                Ok(record) => return Row { answer: Answer::Done(record), doubt: false },
                Err(error) if !is_transient(&error) => return self.failed(&error, false).0,
                Err(_) => {}
            }
        }
        let read = |_| Ok(BatchOperation::read(&BatchReadPolicy::default(), key()?, Bins::All));
        Box::pin(self.send(1, |_| 0, read)).await.pop().unwrap_or_else(Row::late)
    }

    /// How long the next request may take; `None` when there is no time left for one.
    fn policy(&self) -> Option<BatchPolicy> {
        let left = self.call.deadline.checked_duration_since(Instant::now())?;
        let left = left - MARGIN.min(left / 10);
        if left < Duration::from_millis(1) {
            return None;
        }
        let mut policy = BatchPolicy::default();
        policy.base_policy.total_timeout = millis(left);
        policy.base_policy.socket_timeout = millis(self.config.socket_timeout);
        if self.writes {
            // What the client sends again by itself, it forgets to be in doubt about: rows that then have no
            // server, or another answer. So each attempt is one of ours.
            policy.base_policy.max_retries = 0;
        }
        if !self.config.racks.is_empty() {
            policy.base_policy.replica = Replica::PreferRack;
        }
        Some(policy)
    }

    /// What became of a row that was sent, and whether it is worth sending again.
    fn row(&self, op: &mut BatchOperation, doubt: bool, cause: Option<&aerospike::Error>) -> (Row, bool) {
        if let Some(record) = op.take_record() {
            return (Row { answer: Answer::Done(record), doubt }, false);
        }
        // A row without an answer of its own shares the fate of the whole request.
        let Some(error) = op.error().or(cause) else {
            // Nobody knows how far the server came.
            return (Row { answer: Answer::Failed(unanswered().with_in_doubt(true)), doubt: true }, true);
        };
        self.failed(error, doubt)
    }

    /// What an error means for a row, and whether it is worth sending again.
    fn failed(&self, error: &aerospike::Error, doubt: bool) -> (Row, bool) {
        let transient = is_transient(error);
        // Of a row alone the client does not say so: a server that gives up waiting for the other copies, or is
        // given up on, may have stored it.
        let late = error.server_result_code() == Some(ResultCode::Timeout)
            || matches!(error.kind(), Native::Timeout);
        let doubt = doubt || error.in_doubt() || (self.writes && late);
        let answer = match error.server_result_code() {
            Some(code) if !transient => Answer::Code(code, error.clone()),
            _ => Answer::Failed(from_client(error, &self.config.namespace).with_in_doubt(doubt)),
        };
        (Row { answer, doubt }, transient)
    }
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

/// Whether the same row may be taken in a moment. Writes are idempotent, so that even one which may have
/// taken effect can be sent again.
fn is_transient(error: &aerospike::Error) -> bool {
    match error.server_result_code() {
        Some(code) => TRANSIENT.contains(&code),
        None => matches!(
            error.kind(),
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
