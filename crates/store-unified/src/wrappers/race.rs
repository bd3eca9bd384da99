//! The same question asked twice.

use feature_core::{CallContext, Result};
use futures::future::{Either, select};
use tokio::time::timeout_at;

use super::trouble::{in_trouble, last_moment};

/// The answer of `one`, or of `other` where that is the sooner or where `one` is in trouble, and the numbers
/// of the rows that are from `other`. Neither is waited for when the other has answered every row well.
pub(crate) async fn race<T>(
    call: CallContext,
    one: impl Future<Output = Vec<Result<T>>> + Unpin,
    other: impl Future<Output = Vec<Result<T>>> + Unpin,
) -> (Vec<Result<T>>, Vec<usize>) {
    let (one, other) = match select(one, other).await {
        Either::Left((one, _)) if in_trouble(&one).is_empty() => return (one, Vec::new()),
        Either::Left((one, other)) => (one, timeout_at(last_moment(call), other).await.unwrap_or_default()),
        Either::Right((other, _)) if other.iter().all(Result::is_ok) => (Vec::new(), other),
        Either::Right((other, one)) => (timeout_at(last_moment(call), one).await.unwrap_or_default(), other),
    };
    if one.is_empty() {
        let good = other.iter().enumerate().filter(|(_, row)| row.is_ok()).map(|(number, _)| number);
        let good = good.collect();
        return (other, good);
    }
    let failed = in_trouble(&one);
    let of_failed = if other.len() == one.len() { take(other, &failed) } else { Vec::new() };
    fill(one, &failed, of_failed)
}

/// The rows of these numbers, which ascend.
fn take<T>(rows: Vec<T>, numbers: &[usize]) -> Vec<T> {
    let mut numbers = numbers.iter().peekable();
    let wanted = |(number, row)| numbers.next_if_eq(&&number).map(|_| row);
    rows.into_iter().enumerate().filter_map(wanted).collect()
}

/// The answers with those of `other`, which are for the rows of these numbers, where they are good, and the
/// numbers of these.
pub(crate) fn fill<T>(
    mut answers: Vec<Result<T>>,
    numbers: &[usize],
    other: Vec<Result<T>>,
) -> (Vec<Result<T>>, Vec<usize>) {
    let mut from_other = Vec::new();
    // Which answer belongs to which row is anybody's guess if one is missing.
    if numbers.len() == other.len() {
        for (number, row) in numbers.iter().zip(other).filter(|(_, row)| row.is_ok()) {
            answers[*number] = row;
            from_other.push(*number);
        }
    }
    (answers, from_other)
}
