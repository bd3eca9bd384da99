//! Rows of one call that go to several places.

use feature_core::Result;

/// The place that all rows go to, if it is one.
pub(crate) fn only_place<A>(rows: &[A], mut place: impl FnMut(&A) -> usize) -> Option<usize> {
    let (first, rest) = rows.split_first()?;
    let first = place(first);
    rest.iter().all(|row| place(row) == first).then_some(first)
}

/// The numbers of the rows that go to each of so many places.
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

/// Answers to some rows each, put in the order of all rows. A row that nobody has answered for is
/// `missing`.
pub(crate) fn in_order<T>(
    rows: usize,
    parts: impl IntoIterator<Item = (Vec<usize>, Vec<Result<T>>)>,
    missing: impl Fn() -> Result<T>,
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
    all.into_iter().map(|row| row.unwrap_or_else(&missing)).collect()
}
