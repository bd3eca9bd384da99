//! The features of a write.

use std::sync::Arc;

use crate::record::{Record, RecordFeature};
use crate::time::Timestamp;
use crate::value::FeatureValue;

/// Feature values by name, as a write brings them. Setting a name again replaces its value.
///
/// ```
/// use feature_core::{Features, FeatureValue};
/// let features = Features::from([("total_purchases", 42.0), ("avg_order_value", 89.5)])
///     .with("last_country", "DE")
///     .with("churn_score", FeatureValue::Null);
/// assert_eq!(features.len(), 4);
/// assert_eq!(features.get("total_purchases"), Some(&42.0.into()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(Vec<(Arc<str>, FeatureValue)>);

impl Features {
    /// No features yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a feature.
    #[must_use]
    pub fn with(mut self, name: impl Into<Arc<str>>, value: impl Into<FeatureValue>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a feature.
    pub fn set(&mut self, name: impl Into<Arc<str>>, value: impl Into<FeatureValue>) {
        let (name, value) = (name.into(), value.into());
        match self.0.binary_search_by(|(own, _)| own.cmp(&name)) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// The value of a feature.
    pub fn get(&self, name: &str) -> Option<&FeatureValue> {
        let at = self.0.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// How many features there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The features, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &FeatureValue)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The values, to change them in place, sorted by name.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut FeatureValue)> {
        self.0.iter_mut().map(|(name, value)| (&**name, value))
    }
}

impl<N: Into<Arc<str>>, V: Into<FeatureValue>> FromIterator<(N, V)> for Features {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(features: I) -> Self {
        let mut all: Vec<(Arc<str>, FeatureValue)> =
            features.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        if !all.is_sorted_by(|(a, _), (b, _)| a < b) {
            // Of a name that is set twice the later value counts: reverse, keep the first of equals.
            all.reverse();
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            all.dedup_by(|(later, _), (kept, _)| later == kept);
        }
        Self(all)
    }
}

impl<N: Into<Arc<str>>, V: Into<FeatureValue>, const K: usize> From<[(N, V); K]> for Features {
    fn from(features: [(N, V); K]) -> Self {
        features.into_iter().collect()
    }
}

impl Record {
    /// The record that a single write makes: every feature has its event time.
    pub fn of_write(event_time: Timestamp, expires_at: Option<Timestamp>, features: Features) -> Self {
        let feature = |(name, value)| RecordFeature { name, event_time, value };
        Self { event_time, expires_at, floor: None, features: features.0.into_iter().map(feature).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_counts_and_names_are_sorted() {
        let collected: Features = [("b", 1), ("a", 2), ("b", 3), ("b", 4)].into_iter().collect();
        let set = Features::new().with("b", 1).with("a", 2).with("b", 4);
        assert_eq!(collected, set);
        assert_eq!(set.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    }
}
