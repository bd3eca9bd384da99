//! How far a row has come that was not answered at once.

use std::sync::Arc;

use feature_core::ErrorKind::DeadlineExceeded;

use crate::connect::Node;
use crate::error::{Failure, Next};
use crate::router::Router;

/// How often a row follows a redirection, or has the script loaded, before it waits like any other.
const AT_ONCE: usize = 4;

/// The state of a row.
#[derive(Default)]
pub(crate) struct Progress {
    /// The node that another has named, until it has answered, and whether it wants to be asked.
    pub(crate) target: Option<(Arc<Node>, bool)>,
    /// Whether the script has to be loaded first.
    pub(crate) load: bool,
    /// Whether the row needs a command of its own.
    pub(crate) alone: bool,
    at_once: usize,
    pub(crate) in_doubt: bool,
    /// How it failed last.
    pub(crate) failure: Option<Failure>,
}

/// What is to be done about a row that has failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Fail,
    AtOnce,
    Wait,
}

impl Progress {
    /// Takes note of a failure and says what is to be done.
    pub(crate) fn follow(&mut self, router: &Arc<Router>, mut failure: Failure, writes: bool) -> Step {
        self.in_doubt |= writes && failure.in_doubt;
        if let Some(before) = self.failure.as_ref().filter(|_| failure.error.kind() == DeadlineExceeded) {
            let message = format!("{}; before that: {}", failure.error.message(), before.error.message());
            failure = Failure::new(DeadlineExceeded, message, Next::Fail);
        }
        // Where a node has been named, it is that node which lacks the script.
        if !matches!(failure.next, Next::Load | Next::Alone) {
            self.target = None;
        }
        self.load = failure.next == Next::Load;
        self.alone = failure.next == Next::Alone;
        let at_once = self.at_once < AT_ONCE;
        let step = match failure.next.clone() {
            Next::Fail => Step::Fail,
            Next::Load | Next::Alone if at_once => Step::AtOnce,
            Next::Moved(host, port) | Next::Ask(host, port) if at_once => {
                let asking = matches!(failure.next, Next::Ask(..));
                match router.at(&host, port) {
                    Some(node) => {
                        self.target = Some((node, asking));
                        if !asking {
                            router.learn_in_background();
                        }
                        Step::AtOnce
                    }
                    None => {
                        failure = failure.of_a_cluster();
                        Step::Fail
                    }
                }
            }
            _ => Step::Wait,
        };
        self.at_once += usize::from(matches!(step, Step::AtOnce));
        self.failure = Some(failure);
        step
    }

    /// Whether another node may be the right one.
    pub(crate) fn is_lost(&self) -> bool {
        let next = self.failure.as_ref().map(|failure| &failure.next);
        matches!(next, Some(Next::Locate | Next::Reconnect | Next::Moved(..)))
    }
}

#[cfg(test)]
mod tests {
    use feature_core::ErrorKind;

    use super::*;
    use crate::config::RedisConfig;
    use crate::router::tests;

    fn router(cluster_mode: bool) -> Arc<Router> {
        tests::router(RedisConfig { cluster_mode, ..RedisConfig::default() })
    }

    fn failed(next: Next) -> Failure {
        Failure::new(ErrorKind::Unavailable, "failed", next)
    }

    fn named() -> [Next; 2] {
        [Next::Moved("h".to_owned(), 1), Next::Ask("h".to_owned(), 1)]
    }

    #[tokio::test]
    async fn what_can_be_done_at_once_is_done_at_once_a_few_times() {
        let router = router(true);
        for next in [vec![Next::Load, Next::Alone], named().to_vec()].concat() {
            let mut row = Progress::default();
            for _ in 0..4 {
                assert_eq!(row.follow(&router, failed(next.clone()), true), Step::AtOnce, "{next:?}");
            }
            assert_eq!(row.follow(&router, failed(next.clone()), true), Step::Wait, "{next:?}");
        }
        for (next, step) in [
            (Next::Fail, Step::Fail),
            (Next::Wait, Step::Wait),
            (Next::Locate, Step::Wait),
            (Next::Reconnect, Step::Wait),
        ] {
            let mut row = Progress::default();
            for _ in 0..6 {
                assert_eq!(row.follow(&router, failed(next.clone()), true), step, "{next:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_row_goes_where_it_was_sent_until_it_is_sent_elsewhere() {
        let router = router(true);
        let mut row = Progress::default();
        let mut after = |next| {
            row.follow(&router, failed(next), true);
            (row.target.as_ref().map(|(node, asking)| (node.port, *asking)), row.load, row.alone)
        };
        assert_eq!(after(Next::Ask("h".to_owned(), 7)), (Some((7, true)), false, false));
        // It is that node which lacks the script.
        assert_eq!(after(Next::Load), (Some((7, true)), true, false));
        assert_eq!(after(Next::Alone), (Some((7, true)), false, true));
        assert_eq!(after(Next::Moved("h".to_owned(), 8)), (Some((8, false)), false, false));
        assert_eq!(after(Next::Wait), (None, false, false));
    }

    #[test]
    fn a_node_of_a_cluster_is_not_taken_for_a_server() {
        for next in named() {
            let mut row = Progress::default();
            assert_eq!(row.follow(&router(false), failed(next), false), Step::Fail);
            assert_eq!(row.failure.unwrap().error.kind(), ErrorKind::NotConfigured);
        }
    }

    #[test]
    fn a_write_that_was_in_doubt_once_stays_so() {
        let router = router(false);
        for writes in [true, false] {
            let mut row = Progress::default();
            row.follow(&router, failed(Next::Wait), writes);
            assert!(!row.in_doubt);
            row.follow(&router, Failure { in_doubt: true, ..failed(Next::Wait) }, writes);
            row.follow(&router, failed(Next::Wait), writes);
            assert_eq!(row.in_doubt, writes);
        }
    }

    #[test]
    fn a_row_that_is_late_says_what_kept_it() {
        let router = router(false);
        let late = || Failure::new(DeadlineExceeded, "late", Next::Fail);
        let mut row = Progress::default();
        row.follow(&router, late(), true);
        assert_eq!(row.failure.as_ref().unwrap().error.message(), "late");
        row.follow(&router, failed(Next::Wait), true);
        assert_eq!(row.failure.as_ref().unwrap().error.message(), "failed");
        assert_eq!(row.follow(&router, late(), true), Step::Fail);
        let error = row.failure.unwrap().error;
        assert_eq!((error.kind(), error.message()), (DeadlineExceeded, "late; before that: failed"));
    }

    #[test]
    fn a_row_is_lost_where_another_node_may_be_the_right_one() {
        assert!(!Progress::default().is_lost());
        let [moved, ask] = named();
        for (next, lost) in [
            (Next::Locate, true),
            (Next::Reconnect, true),
            (moved, true),
            (ask, false),
            (Next::Wait, false),
            (Next::Fail, false),
        ] {
            let row = Progress { failure: Some(failed(next)), ..Progress::default() };
            assert_eq!(row.is_lost(), lost);
        }
    }
}
