//! Rows that callers write one at a time: while one is under way, others gather, and go out in one command.
//!
//! A command for many rows costs the server much less than many commands. A caller alone waits for nobody, and
//! what gathers waits no longer than for the answer to what was sent before it.

use crate::write::{Kind, Row};

/// Rows that differ in precondition or time to live gather apart; what comes in yet another kind goes out alone.
const KINDS: usize = 4;

/// How much goes into one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// Which of the rows of a command a caller has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) at: usize,
    pub(crate) of: usize,
}

impl Share {
    /// Of what one caller has sent alone.
    pub(crate) const ALL: Self = Self { at: 0, of: 1 };
}

/// Rows for one command, and who waits for their outcomes.
pub(crate) struct Joint<C> {
    /// With their keys.
    pub(crate) rows: Vec<(String, Row)>,
    pub(crate) callers: Vec<C>,
    kind: Kind,
    bytes: usize,
}

impl<C> Joint<C> {
    fn of(key: String, row: Row, caller: C) -> Self {
        Self { kind: row.kind, bytes: row.weight(), rows: vec![(key, row)], callers: vec![caller] }
    }

    fn push(&mut self, key: String, row: Row, caller: C) {
        self.bytes += row.weight();
        self.rows.push((key, row));
        self.callers.push(caller);
    }
}

/// The rows that gather for a connection.
pub(crate) struct Joints<C> {
    limits: Limits,
    /// Commands for rows that have no answer yet.
    under_way: usize,
    gathered: Vec<Joint<C>>,
}

impl<C> Joints<C> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, under_way: 0, gathered: Vec::new() }
    }

    /// Whether there are rows that wait to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.gathered.is_empty()
    }

    /// Takes a row, and gives what is to be sent now: the row alone when nothing is under way, or what has
    /// gathered when it is enough for one command.
    pub(crate) fn add(&mut self, key: String, row: Row, caller: C) -> Option<Joint<C>> {
        let place = self.gathered.iter().position(|joint| joint.kind == row.kind);
        let sent = match place {
            _ if self.under_way == 0 || self.limits.rows == 1 => Joint::of(key, row, caller),
            None if self.gathered.len() == KINDS => Joint::of(key, row, caller),
            None => {
                self.gathered.push(Joint::of(key, row, caller));
                return None;
            }
            Some(place) => {
                let joint = &mut self.gathered[place];
                if joint.bytes + row.weight() > self.limits.bytes {
                    std::mem::replace(joint, Joint::of(key, row, caller))
                } else {
                    joint.push(key, row, caller);
                    if joint.rows.len() < self.limits.rows {
                        return None;
                    }
                    self.gathered.swap_remove(place)
                }
            }
        };
        self.under_way += 1;
        Some(sent)
    }

    /// Takes note that a command has its answer, and gives what is to be sent now.
    pub(crate) fn answered(&mut self) -> Vec<Joint<C>> {
        self.under_way -= 1;
        if self.under_way == 0 { self.send_all() } else { Vec::new() }
    }

    /// Gives everything that has gathered, to be sent now.
    pub(crate) fn send_all(&mut self) -> Vec<Joint<C>> {
        self.under_way += self.gathered.len();
        std::mem::take(&mut self.gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { rows: 3, bytes: 100 };

    fn row(ttl: u64, bytes: usize) -> Row {
        Row::of_test(ttl, vec![0; bytes])
    }

    fn add(joints: &mut Joints<u8>, row: Row, caller: u8) -> Option<Joint<u8>> {
        joints.add("key".to_owned(), row, caller)
    }

    /// Who waits for what is sent.
    fn callers(joints: impl IntoIterator<Item = Joint<u8>>) -> Vec<Vec<u8>> {
        joints.into_iter().map(|joint| joint.callers).collect()
    }

    #[test]
    fn a_row_alone_goes_at_once_and_those_after_it_together() {
        let mut joints = Joints::new(LIMITS);
        assert_eq!(callers(add(&mut joints, row(0, 1), 1)), [[1]]);
        assert!(add(&mut joints, row(0, 1), 2).is_none() && add(&mut joints, row(0, 1), 3).is_none());
        assert!(joints.is_waiting());
        assert_eq!(callers(joints.answered()), [[2, 3]]);
        assert!(!joints.is_waiting());
        assert!(add(&mut joints, row(0, 1), 4).is_none());
        assert_eq!(callers(joints.answered()), [[4]]);
        assert_eq!(callers(joints.answered()), [[0; 0]; 0]);
        assert_eq!(callers(add(&mut joints, row(0, 1), 5)), [[5]]);
    }

    #[test]
    fn what_is_enough_for_a_command_does_not_wait() {
        let mut joints = Joints::new(LIMITS);
        assert_eq!(callers(add(&mut joints, row(0, 1), 1)), [[1]]);
        assert!(add(&mut joints, row(0, 1), 2).is_none() && add(&mut joints, row(0, 1), 3).is_none());
        assert_eq!(callers(add(&mut joints, row(0, 1), 4)), [[2, 3, 4]]);
        assert!(add(&mut joints, row(0, 60), 5).is_none());
        assert_eq!(callers(add(&mut joints, row(0, 60), 6)), [[5]]);
        // Nothing goes before all that are under way have their answers.
        assert!(joints.answered().is_empty() && joints.answered().is_empty());
        assert_eq!(callers(joints.answered()), [[6]]);
    }

    #[test]
    fn where_a_command_has_one_row_none_waits() {
        let mut joints = Joints::new(Limits { rows: 1, ..LIMITS });
        for caller in 0..3 {
            assert_eq!(callers(add(&mut joints, row(0, 1), caller)), [[caller]]);
        }
    }

    #[test]
    fn rows_of_different_kinds_gather_apart_and_those_of_too_many_go_alone() {
        let mut joints = Joints::new(LIMITS);
        assert_eq!(callers(add(&mut joints, row(0, 1), 0)), [[0]]);
        for caller in 1..=8 {
            assert!(add(&mut joints, row(u64::from(caller) % 4, 1), caller).is_none());
        }
        assert_eq!(callers(add(&mut joints, row(9, 1), 9)), [[9]]);
        assert_eq!(callers(joints.send_all()), [[1, 5], [2, 6], [3, 7], [4, 8]]);
    }

    #[test]
    fn the_bytes_of_a_command_are_those_of_all_its_rows() {
        for (rows, sent) in [([1, 50, 50], [1, 2]), ([50, 50, 1], [1, 2])] {
            let mut joints = Joints::new(Limits { rows: 10, ..LIMITS });
            assert_eq!(callers(add(&mut joints, row(0, 1), 0)), [[0]]);
            let [first, second, third] = rows;
            assert!(add(&mut joints, row(0, first), 1).is_none());
            assert!(add(&mut joints, row(0, second), 2).is_none());
            assert_eq!(callers(add(&mut joints, row(0, third), 3)), [sent]);
        }
    }
}
