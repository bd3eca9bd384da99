//! Rows of one call, which may go to several places.

use feature_core::{Error, ErrorKind, RecordKey, Result, ViewKey};

/// What holds for the view of each of many keys, most of which have the view of the one before.
pub(crate) fn by_view<T: Copy>(mut of: impl FnMut(&ViewKey) -> T) -> impl FnMut(&RecordKey) -> T {
    let mut last: Option<(ViewKey, T)> = None;
    move |key| match &last {
        Some((view, known)) if view == key.view() => *known,
        _ => {
            let known = of(key.view());
            last = Some((key.view().clone(), known));
            known
        }
    }
}

/// The place that all rows go to, if it is one.
pub(crate) fn only_place<A>(rows: &[A], mut place: impl FnMut(&A) -> usize) -> Option<usize> {
    let (first, rest) = rows.split_first()?;
    let first = place(first);
    rest.iter().all(|row| place(row) == first).then_some(first)
}

/// The numbers of the rows that go to each of this many places.
pub(crate) fn by_place<A>(rows: &[A], places: usize, mut place: impl FnMut(&A) -> usize) -> Vec<Vec<usize>> {
    let mut numbers = vec![Vec::new(); places];
    for (number, row) in rows.iter().enumerate() {
        numbers[place(row)].push(number);
    }
    numbers
}

/// Takes from `rows` those of these numbers, which ascend.
pub(crate) fn pick<A: Clone>(rows: &[A], numbers: &[usize]) -> Vec<A> {
    numbers.iter().map(|number| rows[*number].clone()).collect()
}

/// For a row that a store has not answered for, which breaks the contract.
pub(crate) fn unanswered() -> Error {
    Error::new(ErrorKind::Internal, "a store did not answer with one row for each key; report it")
}

/// The answers, if there is one for each row; which belongs to which is anybody's guess otherwise.
pub(crate) fn counted<T>(answers: Vec<Result<T>>, rows: usize) -> Vec<Result<T>> {
    if answers.len() == rows {
        return answers;
    }
    unanswered().with_in_doubt(true).for_rows(rows)
}

/// Answers to some rows each, put in the order of all rows. A row that nobody has answered for is
/// `missing`.
pub(crate) fn in_order<T>(
    rows: usize,
    parts: impl IntoIterator<Item = (Vec<usize>, Vec<Result<T>>)>,
    missing: &Error,
) -> Vec<Result<T>> {
    let mut all: Vec<Option<Result<T>>> = std::iter::repeat_with(|| None).take(rows).collect();
    for (numbers, answers) in parts {
        // Which answer belongs to which row is anybody's guess if one is missing.
        if numbers.len() == answers.len() {
            for (number, answer) in numbers.into_iter().zip(answers) {
                all[number] = Some(answer);
            }
        }
    }
    all.into_iter().map(|row| row.unwrap_or_else(|| Err(missing.clone()))).collect()
}
