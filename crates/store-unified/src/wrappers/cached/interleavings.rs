//! Reads and writes in any order and at any pace, against what may be seen at the time.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::Poll;

use feature_core::{Error, ErrorKind, ManualClock};
use futures::poll;
use store_testkit::{Fault, FaultyBackend};

use super::testing::{Pass, Passing, START, TTL, cached, call, is_stored, keys, map, put, value};
use super::*;

/// Gives way a random number of times before each call has its effect and again before it answers.
#[derive(Debug)]
struct GivesWay(Mutex<fastrand::Rng>);

impl Pass for GivesWay {
    async fn pass<T: Send>(&self, _: &'static str, work: impl Future<Output = T> + Send) -> T {
        self.give_way().await;
        let output = work.await;
        self.give_way().await;
        output
    }
}

impl GivesWay {
    async fn give_way(&self) {
        let times = self.0.lock().unwrap().usize(..4);
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    }
}

/// What a record was made, one after the other. A read may see a state unless, before it began, it was known
/// that a later one had come.
#[derive(Default)]
struct History {
    /// Value, and since which step it is known, or since what time if another process made it.
    states: Vec<(Option<i64>, Known)>,
    /// Whether a write of this process is under way.
    busy: bool,
}

#[derive(Clone, Copy)]
enum Known {
    No,
    Since(usize),
    /// By all from this time on.
    From(Timestamp),
}

impl History {
    fn may_be_read(&self, value: Option<i64>, began: usize, at: Timestamp) -> bool {
        let known = |known: &Known| match *known {
            Known::No => false,
            Known::Since(step) => step < began,
            Known::From(time) => time <= at,
        };
        let oldest = self.states.iter().rposition(|(_, state)| known(state)).unwrap_or(0);
        self.states[oldest..].iter().any(|(own, _)| *own == value)
    }
}

enum Work<'a> {
    Read {
        keys: Vec<usize>,
        began: usize,
        at: Timestamp,
        future: Pin<Box<dyn Future<Output = Vec<Row>> + Send + 'a>>,
    },
    Write {
        keys: Vec<usize>,
        states: Vec<usize>,
        future: Pin<Box<dyn Future<Output = Vec<bool>> + Send + 'a>>,
    },
}

/// Reads, writes and deletions of random records that begin, go on and are abandoned in random order, on a
/// store that fails now and then and that another process writes to. No read may miss a write that was
/// answered before it began, nor one of the other process for longer than the time to live.
#[tokio::test]
async fn in_any_interleaving_no_read_misses_an_earlier_write() {
    let (mut hits, mut joined) = (0, 0);
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = ManualClock::at(START);
        let map = map(&clock);
        let faults = vec![
            Fault::Fail(Error::new(ErrorKind::Unavailable, "down")),
            Fault::LoseReply,
            Fault::FailRow(0, Error::new(ErrorKind::Throttled, "slow down")),
            Fault::CutAnswer(0),
        ];
        let faulty =
            FaultyBackend::random(map.clone(), seed, if seed % 2 == 0 { 20 } else { usize::MAX }, faults);
        let slow = Passing { store: Arc::new(faulty), through: GivesWay(Mutex::new(random.fork())) };
        let store = cached(Arc::new(slow), &clock);
        let names = keys(0..3);
        let all: Vec<Vec<RecordKey>> = (0..8usize)
            .map(|set| (0..3).filter(|n| set >> n & 1 == 1).map(|n| names[n].clone()).collect())
            .collect();
        let mut histories: Vec<History> =
            (0..3).map(|_| History { states: vec![(None, Known::Since(0))], busy: false }).collect();
        let mut works: Vec<Work<'_>> = Vec::new();
        let mut last = 0;
        for step in 1..400 {
            match random.u32(..100) {
                0..20 if works.len() < 8 => {
                    let set = random.usize(1..8);
                    let (keys, at) = ((0..3).filter(|n| set >> n & 1 == 1).collect(), clock.now());
                    works.push(Work::Read { keys, began: step, at, future: store.get(&all[set], call()) });
                }
                20..30 => {
                    let keys: Vec<usize> = (0..3).filter(|n| !histories[*n].busy && random.bool()).collect();
                    if keys.is_empty() {
                        continue;
                    }
                    last += 1;
                    let deletes = random.u32(..4) == 0;
                    let names: Vec<_> = keys.iter().map(|n| names[*n].clone()).collect();
                    for n in &keys {
                        histories[*n].busy = true;
                        histories[*n].states.push(((!deletes).then_some(last), Known::No));
                    }
                    let (store, value) = (&store, last);
                    let future: Pin<Box<dyn Future<Output = Vec<bool>> + Send>> = if deletes {
                        Box::pin(async move {
                            store.delete(&names, call()).await.iter().map(Result::is_ok).collect()
                        })
                    } else {
                        let puts = names.into_iter().map(|name| put(name, value, None)).collect();
                        Box::pin(async move { store.put(puts, call()).await.iter().map(is_stored).collect() })
                    };
                    let states = keys.iter().map(|n| histories[*n].states.len() - 1).collect();
                    works.push(Work::Write { keys, states, future });
                }
                30..35 => {
                    let n = random.usize(..3);
                    if !histories[n].busy {
                        last += 1;
                        map.put(vec![put(names[n].clone(), last, None)], call()).await;
                        let from = clock.now().saturating_add(TTL);
                        histories[n].states.push((Some(last), Known::From(from)));
                    }
                }
                35..40 => clock.advance(TTL / random.u32(1..5)),
                40..43 if !works.is_empty() => {
                    if let Work::Write { keys, .. } = works.swap_remove(random.usize(..works.len())) {
                        keys.iter().for_each(|n| histories[*n].busy = false);
                    }
                }
                _ if !works.is_empty() => {
                    let at = random.usize(..works.len());
                    let ready = match &mut works[at] {
                        Work::Read { keys, began, at, future } => match poll!(future) {
                            Poll::Ready(rows) => {
                                assert_eq!(rows.len(), keys.len());
                                for (n, row) in keys.iter().zip(&rows).filter(|(_, row)| row.is_ok()) {
                                    let seen = value(row);
                                    let fine = histories[*n].may_be_read(seen, *began, *at);
                                    assert!(fine, "seed {seed}, step {step}: record {n} is {seen:?}");
                                }
                                true
                            }
                            Poll::Pending => false,
                        },
                        Work::Write { keys, states, future } => match poll!(future) {
                            Poll::Ready(done) => {
                                for ((n, state), done) in keys.iter().zip(states).zip(done) {
                                    histories[*n].busy = false;
                                    if done {
                                        histories[*n].states[*state].1 = Known::Since(step);
                                    }
                                }
                                true
                            }
                            Poll::Pending => false,
                        },
                    };
                    if ready {
                        drop(works.swap_remove(at));
                    }
                }
                _ => {}
            }
        }
        drop(works);
        assert!(store.shared.traffic.lock().is_idle(), "seed {seed}");
        hits += store.stats().hits;
        joined += store.stats().joined;
    }
    assert!(hits > 1_000 && joined > 1_000, "{hits} hits and {joined} joined say little");
}
