//! The one rule by which writes are merged.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::features::Features;
use crate::names::FeatureNames;
use crate::record::Record;
use crate::time::Timestamp;
use crate::value::FeatureValue;

/// Joins what is stored with what arrives.
///
/// Each feature is a last-writer-wins register on event time; on equal times what arrives wins. A floor (left
/// by a replace) removes every feature older than it, whenever that arrives; a replace that arrives also
/// removes stored features with exactly its time. The record's event time and expiry are those of the newest
/// write, on equal times of the one that arrives.
///
/// For distinct event times the order of arguments does not matter; for all times the grouping does not,
/// and merging a record with itself changes nothing. So writes may arrive late, twice and in any order.
///
/// Neither record may have expired: an expired record is an absent one.
///
/// ```
/// use feature_core::{merge, Features, Record, Timestamp};
/// let write = |micros, features: Features| Record::of_write(Timestamp::from_micros(micros), None, features);
/// let newer = write(20, Features::from([("orders", 3)]));
/// let older = write(10, Features::from([("orders", 2), ("visits", 9)]));
/// let merged = merge(newer, older);
/// assert_eq!(merged.get("orders").unwrap().value, &3.into());
/// assert_eq!(merged.get("visits").unwrap().event_time, Timestamp::from_micros(10));
/// ```
#[must_use]
pub fn merge(stored: Record, incoming: Record) -> Record {
    let (stored_floor, incoming_floor) = (stored.floor, incoming.floor);
    let (event_time, expires_at) = if incoming.event_time >= stored.event_time {
        (incoming.event_time, incoming.expires_at)
    } else {
        (stored.event_time, stored.expires_at)
    };
    let (old_names, old) = take_apart(stored);
    let (new_names, new) = take_apart(incoming);
    let mut old = old_names
        .iter()
        .zip(old)
        .filter(|(_, (time, _))| incoming_floor.is_none_or(|floor| *time > floor))
        .peekable();
    let mut new = new_names
        .iter()
        .zip(new)
        .filter(|(_, (time, _))| stored_floor.is_none_or(|floor| *time >= floor))
        .peekable();

    let mut names = FeatureNames::default();
    let (mut values, mut times) = (Vec::new(), Vec::new());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((o, _)), Some((n, _))) => o.cmp(n),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let next = match order {
            Ordering::Less => old.next(),
            Ordering::Greater => new.next(),
            Ordering::Equal => {
                old.next().into_iter().chain(new.next()).reduce(|o, n| if n.1.0 >= o.1.0 { n } else { o })
            }
        };
        if let Some((name, (time, value))) = next {
            if time != event_time {
                times.push((values.len(), time));
            }
            names.push(name);
            values.push(value);
        }
    }
    let features = Features::from_parts(Arc::new(names), values);
    Record { event_time, expires_at, floor: stored_floor.max(incoming_floor), features, times }
}

/// The names, and for each the event time and the value.
fn take_apart(record: Record) -> (Arc<FeatureNames>, Vec<(Timestamp, FeatureValue)>) {
    let (names, values) = record.features.into_parts();
    let mut features: Vec<_> = values.into_iter().map(|value| (record.event_time, value)).collect();
    for (index, own) in record.times {
        if let Some((time, _)) = features.get_mut(index) {
            *time = own;
        }
    }
    (names, features)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A write: its time, whether it replaces, the features it names, when its record expires.
    fn write(time: i64, replace: bool, names: &[String], expires: Option<i64>) -> Record {
        let at = Timestamp::from_micros(time);
        let features = names.iter().map(|name| (name, format!("{name}@{time}"))).collect();
        let expires = expires.map(Timestamp::from_micros);
        Record { floor: replace.then_some(at), ..Record::of_write(at, expires, features) }
    }

    fn writes(times: std::ops::Range<i64>) -> impl Strategy<Value = Record> {
        (times, any::<bool>(), prop::collection::vec("[a-d]", 0..4), prop::option::of(100..200i64))
            .prop_map(|(time, replace, names, expires)| write(time, replace, &names, expires))
    }

    fn fold(writes: impl IntoIterator<Item = Record>) -> Record {
        writes.into_iter().reduce(merge).unwrap()
    }

    proptest! {
        #[test]
        fn order_does_not_matter(writes in prop::collection::vec(writes(0..1), 1..8), seed in any::<u64>()) {
            // Distinct times, in the order of the list.
            let at = |(i, mut w): (usize, Record)| {
                let time = Timestamp::from_micros(i as i64 * 10);
                w.event_time = time;
                w.floor = w.floor.map(|_| time);
                w
            };
            let writes: Vec<_> = writes.into_iter().enumerate().map(at).collect();
            let in_order = fold(writes.clone());
            let mut shuffled = [writes.clone(), writes].concat();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            prop_assert_eq!(fold(shuffled), in_order);
        }

        #[test]
        fn grouping_does_not_matter_even_with_ties(
            a in writes(0..4), b in writes(0..4), c in writes(0..4), d in writes(0..4)
        ) {
            let left = merge(merge(merge(a.clone(), b.clone()), c.clone()), d.clone());
            prop_assert_eq!(&merge(merge(a.clone(), b.clone()), merge(c.clone(), d.clone())), &left);
            prop_assert_eq!(&merge(a, merge(b, merge(c, d))), &left);
        }

        #[test]
        fn repeating_changes_nothing(writes in prop::collection::vec(writes(0..4), 1..6)) {
            let record = fold(writes);
            prop_assert_eq!(merge(record.clone(), record.clone()), record);
        }

        #[test]
        fn what_comes_out_can_be_encoded(writes in prop::collection::vec(writes(0..4), 1..6)) {
            let record = fold(writes);
            prop_assert_eq!(Record::decode(&record.encode().unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn on_a_tie_what_arrives_wins() {
        let mut first = write(5, false, &["a".into()], None);
        let second = write(5, false, &["a".into()], Some(150));
        first.features.set("a", 1);
        assert_eq!(merge(first.clone(), second.clone()), second);
        assert_eq!(merge(second, first.clone()), first);
    }

    #[test]
    fn a_replace_is_exact_whenever_it_arrives() {
        let before = write(4, false, &["a".into(), "b".into()], None);
        let replace = write(5, true, &["b".into()], None);
        let after = write(6, false, &["c".into()], None);
        let names = |r: Record| r.features.iter().map(|(name, _)| name).collect::<String>();
        assert_eq!(names(fold([before.clone(), replace.clone(), after.clone()])), "bc");
        assert_eq!(names(fold([after, replace, before])), "bc");
    }

    #[test]
    fn a_replace_removes_what_came_before_it_at_its_own_time_and_nothing_that_comes_later() {
        let replace = write(5, true, &["b".into()], None);
        let partial = write(5, false, &["a".into()], None);
        let names = |r: Record| r.features.iter().map(|(name, _)| name).collect::<String>();
        assert_eq!(names(merge(partial.clone(), replace.clone())), "b");
        assert_eq!(names(merge(replace, partial)), "ab");
    }
}
