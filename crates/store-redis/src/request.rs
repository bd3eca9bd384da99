//! Sends rows to the nodes that own them, and retries what may succeed later.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use feature_core::{CallContext, ErrorKind, Result};
use futures::future::join_all;
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::connect::Node;
use crate::error::{Failure, Next, from_server};
use crate::progress::{Progress, Step};
use crate::resp::{Reply, Request};
use crate::router::{Locate, Router};

/// A kind of request for rows, each with one key.
pub(crate) trait Operation: Sync {
    /// What is learned of a row.
    type Answer: Send;

    /// Whether a request without an answer may have changed something.
    const WRITES: bool;

    /// The code that the commands call by its hash, where they do.
    const SCRIPT: Option<&'static str> = None;

    /// The key of a row.
    fn key(&self, row: usize) -> &[u8];

    /// About how many bytes a row sends besides its key.
    fn weight(&self, _row: usize) -> usize {
        0
    }

    /// Adds the commands for these rows to a request; `alone` when a command must not have more than one key.
    fn commands(&self, rows: &[usize], alone: bool, request: &mut Request) -> Vec<Part>;

    /// What the replies to a part say of its rows, in order.
    fn answers(
        &self,
        rows: &[usize],
        replies: Vec<Reply>,
        server: &str,
    ) -> Vec<Result<Self::Answer, Failure>>;

    /// Sends a row so that it may share a command with those of other callers, where that is possible.
    fn send_jointly(
        &self,
        _node: &Node,
        _row: usize,
        _deadline: Instant,
    ) -> impl Future<Output = Option<Result<Self::Answer, Failure>>> + Send {
        async { None }
    }
}

/// Commands of a request that belong together.
pub(crate) struct Part {
    pub(crate) commands: usize,
    /// The rows that they cover.
    pub(crate) rows: Vec<usize>,
}

/// Rows of one round that go to one node together.
struct Group {
    node: Arc<Node>,
    asking: bool,
    load: bool,
    alone: bool,
    rows: Vec<usize>,
}

/// Carries an operation out on `count` rows. Ends before the deadline, and every row has its own result.
pub(crate) async fn run<O: Operation>(
    router: &Arc<Router>,
    operation: &O,
    count: usize,
    call: CallContext,
) -> Vec<Result<O::Answer>> {
    // A little before the caller gives up, who would otherwise not learn which rows were done.
    let deadline = call.deadline - margin(left(call.deadline));
    let mut answers: Vec<Option<Result<O::Answer>>> = Vec::new();
    answers.resize_with(count, || None);
    // Empty as long as nothing has failed.
    let mut progress: Vec<Progress> = Vec::new();
    let mut open: Vec<usize> = (0..count).collect();
    let mut delays = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(Duration::from_millis(500))
        .with_max_times(router.config().max_retries)
        .with_jitter()
        .build();
    let mut first = true;
    while !open.is_empty() {
        let (groups, homeless) = group(router, operation, &open, &progress, first);
        // All are under way together: it is one round trip.
        let mut outcomes = match &cut(router.config(), operation, groups)[..] {
            [group] => send(router, group, operation, deadline).await,
            groups => {
                let sent = groups.iter().map(|group| send(router, group, operation, deadline));
                join_all(sent).await.into_iter().flatten().collect()
            }
        };
        outcomes.extend(homeless.into_iter().map(|row| (row, Err(Failure::homeless()))));

        let mut wait = false;
        open.clear();
        for (row, outcome) in outcomes {
            match outcome {
                Ok(answer) => answers[row] = Some(Ok(answer)),
                Err(failure) => {
                    progress.resize_with(count, Progress::default);
                    match progress[row].follow(router, failure, O::WRITES) {
                        Step::Fail => {}
                        Step::AtOnce => open.push(row),
                        Step::Wait => {
                            wait = true;
                            open.push(row);
                        }
                    }
                }
            }
        }
        if wait {
            let Some(delay) = delays.next().filter(|delay| *delay < left(deadline)) else { break };
            tokio::time::sleep(delay).await;
            if open.iter().any(|row| progress[*row].is_lost()) {
                // If this fails too, so does the next attempt, and says why.
                let _ = tokio::time::timeout_at(deadline, router.learn(deadline)).await;
            }
        }
        first = false;
    }
    let mut failed = |row: usize| {
        let Progress { failure, in_doubt, .. } =
            progress.get_mut(row).map(std::mem::take).unwrap_or_default();
        Err(failure.unwrap_or_else(Failure::homeless).error.with_in_doubt(in_doubt))
    };
    answers.into_iter().enumerate().map(|(row, answer)| answer.unwrap_or_else(|| failed(row))).collect()
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// How long before the deadline the last answers are due, where so much time is left.
fn margin(left: Duration) -> Duration {
    (left / 10).min(Duration::from_millis(2))
}

/// The rows by their node, and those without a known owner.
fn group<O: Operation>(
    router: &Arc<Router>,
    operation: &O,
    open: &[usize],
    progress: &[Progress],
    first: bool,
) -> (Vec<Group>, Vec<usize>) {
    // What a replica did not answer, the primary may.
    let locate = router.locator(first && !O::WRITES);
    if let (Locate::Same(Some(node)), []) = (&locate, progress) {
        let node = Arc::clone(node);
        let group = Group { node, asking: false, load: false, alone: false, rows: open.to_vec() };
        return (vec![group], Vec::new());
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut homeless = Vec::new();
    for row in open.iter().copied() {
        let before = progress.get(row);
        let (load, alone) = before.map_or((false, false), |row| (row.load, row.alone));
        let (node, asking) = match before.and_then(|row| row.target.as_ref()) {
            Some((node, asking)) => (Some(Arc::clone(node)), *asking),
            None => (locate.of(operation.key(row)), false),
        };
        let Some(node) = node else {
            homeless.push(row);
            continue;
        };
        let same = |group: &&mut Group| {
            Arc::ptr_eq(&group.node, &node)
                && (group.asking, group.load, group.alone) == (asking, load, alone)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { node, asking, load, alone, rows: vec![row] }),
        }
    }
    (groups, homeless)
}

/// The same rows in groups of a size that does not hold a server up for long.
fn cut<O: Operation>(config: &RedisConfig, operation: &O, groups: Vec<Group>) -> Vec<Group> {
    let mut pieces: Vec<Group> = Vec::with_capacity(groups.len());
    for Group { node, asking, load, alone, rows } in groups {
        let (mut piece, mut bytes) = (Vec::with_capacity(rows.len().min(config.batch_chunk)), 0);
        let group = |rows| Group { node: Arc::clone(&node), asking, load, alone, rows };
        for row in rows {
            let weight = operation.weight(row);
            if !piece.is_empty()
                && (piece.len() == config.batch_chunk || bytes + weight > config.batch_chunk_bytes)
            {
                pieces.push(group(std::mem::take(&mut piece)));
                bytes = 0;
            }
            piece.push(row);
            bytes += weight;
        }
        pieces.push(group(piece));
    }
    pieces
}

/// Sends a group's rows in one request.
async fn send<O: Operation>(
    router: &Router,
    group: &Group,
    operation: &O,
    deadline: Instant,
) -> Vec<(usize, Result<O::Answer, Failure>)> {
    let Group { node, asking, load, alone, rows } = group;
    let alone = *alone || router.each_key_alone();
    let config = router.config();
    let needed = if O::WRITES { config.wait_replicas } else { 0 };
    if let [row] = rows[..]
        && !(alone || *load || *asking || needed > 0)
        && let Some(outcome) = operation.send_jointly(node, row, deadline).await
    {
        return checked(node, vec![(row, outcome)]);
    }
    let mut request = Request::default();
    if let Some(script) = O::SCRIPT.filter(|_| *load) {
        request.push([b"SCRIPT", &b"LOAD"[..], script.as_bytes()]);
    }
    let mut request = request.asking(*asking);
    let parts = operation.commands(rows, alone, &mut request);
    if needed > 0 {
        // The connection is held up for so long; nobody waits beyond the deadline.
        let millis = config.wait_timeout.min(left(deadline)).as_millis().max(1);
        request.push([&b"WAIT"[..], needed.to_string().as_bytes(), millis.to_string().as_bytes()]);
    }
    let mut replies = match node.send_rows(request, rows.len(), deadline).await {
        Ok(replies) => replies,
        Err(failure) => return rows.iter().map(|row| (*row, Err(failure.clone()))).collect(),
    };
    let mut outcomes = Vec::with_capacity(rows.len());
    if let Some(Reply::Error(error)) = O::SCRIPT.filter(|_| *load).and_then(|_| replies.next()) {
        let failure = from_server(&error, &node.name);
        return rows.iter().map(|row| (*row, Err(failure.clone()))).collect();
    }
    for Part { commands, rows } in parts {
        let replies: Vec<Reply> = match asking {
            false => replies.by_ref().take(commands).collect(),
            true => replies.by_ref().take(2 * commands).skip(1).step_by(2).collect(),
        };
        let error = replies.iter().find_map(|reply| match reply {
            Reply::Error(error) => Some(from_server(error, &node.name)),
            _ => None,
        });
        match error {
            Some(failure) => outcomes.extend(rows.into_iter().map(|row| (row, Err(failure.clone())))),
            None => {
                let answers = operation.answers(&rows, replies, &node.name);
                outcomes.extend(rows.into_iter().zip(answers));
            }
        }
    }
    if needed > 0
        && let Err(failure) = confirmed(replies.last(), needed, &node.name)
    {
        for (_, outcome) in outcomes.iter_mut().filter(|(_, outcome)| outcome.is_ok()) {
            *outcome = Err(failure.clone());
        }
    }
    checked(node, outcomes)
}

/// Gives up connections where an outcome says that another server is behind the address. A script says so row by row.
fn checked<A>(node: &Node, outcomes: Vec<(usize, Result<A, Failure>)>) -> Vec<(usize, Result<A, Failure>)> {
    let replaced = |failure: &Failure| failure.next == Next::Reconnect;
    if outcomes.iter().any(|(_, outcome)| outcome.as_ref().err().is_some_and(replaced)) {
        node.reset();
    }
    outcomes
}

/// Whether enough replicas have what was written; where they do not, it may still be lost.
fn confirmed(reply: Option<Reply>, needed: usize, server: &str) -> Result<(), Failure> {
    let failure = match reply {
        Some(Reply::Int(replicas)) if usize::try_from(replicas).is_ok_and(|have| have >= needed) => {
            return Ok(());
        }
        Some(Reply::Int(replicas)) => {
            let message = format!(
                "{server}: {replicas} of the {needed} replicas in wait_replicas have confirmed the write \
                 within wait_timeout; see to the replicas, and send it again"
            );
            Failure::new(ErrorKind::Unavailable, message, Next::Fail)
        }
        Some(Reply::Error(error)) => from_server(&error, server),
        _ => Failure::garbled(server),
    };
    Err(Failure { in_doubt: true, ..failure })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::SLOTS_OF_TWO;
    use crate::connect::tests::{is_connected, local, node, soon};
    use crate::dial::tests::server;
    use crate::read::Delete;
    use crate::read::tests::keys;
    use crate::router::tests::router;

    #[test]
    fn a_write_that_too_few_replicas_have_confirmed_is_in_doubt() {
        for enough in [2, 3] {
            assert!(confirmed(Some(Reply::Int(enough)), 2, "h:1").is_ok());
        }
        let error = Reply::Error("LOADING soon".into());
        for (reply, kind) in [
            (Some(Reply::Int(1)), ErrorKind::Unavailable),
            (Some(Reply::Int(-1)), ErrorKind::Unavailable),
            (Some(error), ErrorKind::Unavailable),
            (Some(Reply::Nil), ErrorKind::Internal),
            (None, ErrorKind::Internal),
        ] {
            let failure = confirmed(reply, 2, "h:1").unwrap_err();
            assert_eq!((failure.error.kind(), failure.in_doubt), (kind, true));
        }
    }

    /// Rows of these weights, of which nothing is asked.
    struct Weighed<const WRITES: bool>(&'static [usize]);

    impl<const WRITES: bool> Operation for Weighed<WRITES> {
        type Answer = ();

        const WRITES: bool = WRITES;

        fn key(&self, _: usize) -> &[u8] {
            b"key"
        }

        fn weight(&self, row: usize) -> usize {
            self.0[row]
        }

        fn commands(&self, rows: &[usize], _: bool, request: &mut Request) -> Vec<Part> {
            request.push([&b"PING"[..]]);
            vec![Part { commands: 1, rows: rows.to_vec() }]
        }

        fn answers(&self, rows: &[usize], _: Vec<Reply>, _: &str) -> Vec<Result<(), Failure>> {
            rows.iter().map(|_| Ok(())).collect()
        }
    }

    const READS: Weighed<false> = Weighed(&[4, 4, 2, 2, 8, 3, 11, 1, 1, 1, 1]);

    fn rows(groups: Vec<Group>) -> Vec<Vec<usize>> {
        groups.into_iter().map(|group| group.rows).collect()
    }

    #[test]
    fn rows_that_are_sent_alike_go_together() {
        let router = router(RedisConfig::default());
        let other = node(RedisConfig::default(), 2);
        let mut progress: Vec<Progress> = Vec::new();
        progress.resize_with(8, Progress::default);
        for row in [1, 7] {
            progress[row].load = true;
        }
        for row in [2, 4] {
            progress[row].alone = true;
        }
        progress[5].target = Some((Arc::clone(&other), true));
        progress[6].target = Some((other, false));
        let (groups, homeless) = group(&router, &READS, &[0, 1, 2, 3, 4, 5, 6, 7], &progress, true);
        assert_eq!(rows(groups), [vec![0, 3], vec![1, 7], vec![2, 4], vec![5], vec![6]]);
        assert!(homeless.is_empty());
        let (groups, homeless) = group(&router, &READS, &[2, 5], &[], true);
        assert_eq!((rows(groups), homeless.len()), (vec![vec![2, 5]], 0));
    }

    #[test]
    fn no_command_has_more_rows_or_bytes_than_the_settings_say() {
        let config = RedisConfig { batch_chunk: 3, batch_chunk_bytes: 10, ..RedisConfig::default() };
        let router = router(config);
        let (groups, _) = group(&router, &READS, &(0..11).collect::<Vec<_>>(), &[], true);
        let pieces = cut(router.config(), &READS, groups);
        assert_eq!(rows(pieces), [vec![0, 1, 2], vec![3, 4], vec![5], vec![6], vec![7, 8, 9], vec![10]]);
    }

    #[tokio::test]
    async fn a_replica_is_read_at_first_and_never_written() {
        let router = router(RedisConfig {
            cluster_mode: true,
            replica_reads: true,
            ..local(server(|_| Some(SLOTS_OF_TWO)).await)
        });
        let (_, homeless) = group(&router, &READS, &[0], &[], true);
        assert_eq!(homeless, [0]);
        router.learn(soon()).await.unwrap();
        let host = |(groups, _): (Vec<Group>, _)| groups[0].node.host.clone();
        assert_eq!(host(group(&router, &READS, &[0], &[], true)), "replica");
        assert_eq!(host(group(&router, &READS, &[0], &[], false)), "primary");
        assert_eq!(host(group(&router, &Weighed::<true>(&[1]), &[0], &[], true)), "primary");
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again() {
        let port = server(|number| Some(if number < 2 { "-LOADING soon" } else { "+PONG" })).await;
        let router = router(local(port));
        let answers = run(&router, &READS, 2, CallContext { deadline: soon() }).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    #[tokio::test]
    async fn connections_are_given_up_only_where_another_server_is_behind_the_address() {
        let node = node(RedisConfig::default(), server(|_| Some("+OK")).await);
        node.open().await.unwrap();
        for (next, stays) in [(Next::Wait, true), (Next::Locate, true), (Next::Reconnect, false)] {
            let failure = Failure::new(ErrorKind::Unavailable, "failed", next);
            checked(&node, vec![(0, Ok(())), (1, Err(failure))]);
            assert_eq!(is_connected(&node), stays);
        }
    }

    #[tokio::test]
    async fn where_a_slot_is_on_its_way_each_row_has_the_reply_to_its_own_command() {
        let router = router(RedisConfig::default());
        let port = server(|number| ["+OK", ":1", "+OK", ":0"].get(number).copied()).await;
        let node = node(RedisConfig::default(), port);
        let group = Group { node, asking: true, load: false, alone: false, rows: vec![0, 1] };
        let outcomes = send(&router, &group, &Delete::new("", &keys(2)), soon()).await;
        let removed: Vec<_> = outcomes.into_iter().map(|(row, removed)| (row, removed.unwrap())).collect();
        assert_eq!(removed, [(0, true), (1, false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn rows_have_their_results_before_the_caller_gives_up() {
        let port = server(|_| None).await;
        let router = router(local(port));
        let call = CallContext::with_timeout(Duration::from_millis(200));
        let answers = run(&router, &READS, 2, call).await;
        assert!(Instant::now() < call.deadline);
        assert!(answers.iter().all(Result::is_err));
    }

    #[test]
    fn the_last_answers_are_due_a_little_before_the_deadline() {
        for (left, before) in [(10, 1), (20, 2), (1_000, 2)] {
            assert_eq!(margin(Duration::from_millis(left)), Duration::from_millis(before));
        }
    }
}
