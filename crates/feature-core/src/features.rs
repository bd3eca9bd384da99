//! The features of a write.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::names::FeatureNames;
use crate::value::{FeatureValue, FeatureValues};

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
pub struct Features {
    /// Sorted. In one text, because that is cheap to make, to copy, and to compare with another row's.
    names: Arc<FeatureNames>,
    /// One for each name.
    values: FeatureValues,
}

impl Features {
    /// No features yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Values for names that many rows share, as the rows of a table do: cheaper than naming them row by row.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use feature_core::{FeatureNames, Features};
    /// let names: Arc<FeatureNames> = Arc::new(["age", "country"].into_iter().collect());
    /// let row = Features::of_names(&names, vec![42.into(), "DE".into()])?;
    /// assert_eq!(row.get("country"), Some(&"DE".into()));
    /// # Ok::<(), feature_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` when the names are not in ascending order, or there is not one value for each.
    pub fn of_names(names: &Arc<FeatureNames>, values: Vec<FeatureValue>) -> Result<Self> {
        if names.len() != values.len() {
            let message = format!("{} values for {} names", values.len(), names.len());
            return Err(Error::invalid_argument(message));
        }
        if !names.iter().is_sorted_by(|a, b| a < b) {
            return Err(Error::invalid_argument("the names of a row's features are not in ascending order"));
        }
        Ok(Self::from_parts(Arc::clone(names), values))
    }

    /// Sorted names, and a value for each.
    pub(crate) fn from_parts(names: Arc<FeatureNames>, values: Vec<FeatureValue>) -> Self {
        Self { names, values: values.into() }
    }

    pub(crate) fn into_parts(self) -> (Arc<FeatureNames>, Vec<FeatureValue>) {
        (self.names, self.values.into_vec())
    }

    /// Sets a feature.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<str>, value: impl Into<FeatureValue>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a feature.
    pub fn set(&mut self, name: impl AsRef<str>, value: impl Into<FeatureValue>) {
        let (name, value) = (name.as_ref(), value.into());
        match self.names.search(name) {
            Ok(at) => self.values[at] = value,
            Err(at) => {
                Arc::make_mut(&mut self.names).insert(at, name);
                self.values.insert(at, value);
            }
        }
    }

    /// The value of a feature.
    pub fn get(&self, name: &str) -> Option<&FeatureValue> {
        self.values.get(self.names.search(name).ok()?)
    }

    /// How many features there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The features, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &FeatureValue)> {
        self.names.iter().zip(&*self.values)
    }

    /// The names, sorted.
    pub(crate) fn names(&self) -> &Arc<FeatureNames> {
        &self.names
    }

    /// The values, in the order of the names.
    pub(crate) fn values(&self) -> &[FeatureValue] {
        &self.values
    }

    /// The values, to change them in place, sorted by name.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut FeatureValue)> {
        self.names.iter().zip(&mut *self.values)
    }
}

impl<N: AsRef<str>, V: Into<FeatureValue>> FromIterator<(N, V)> for Features {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(features: I) -> Self {
        let mut all: Vec<(N, V)> = features.into_iter().collect();
        if !all.is_sorted_by(|(a, _), (b, _)| a.as_ref() < b.as_ref()) {
            // Of a name that is set twice the later value counts: reverse, keep the first of equals.
            all.reverse();
            all.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
            all.dedup_by(|(later, _), (kept, _)| later.as_ref() == kept.as_ref());
        }
        let names = Arc::new(all.iter().map(|(name, _)| name).collect());
        Self::from_parts(names, all.into_iter().map(|(_, value)| value.into()).collect())
    }
}

impl<N: AsRef<str>, V: Into<FeatureValue>, const K: usize> From<[(N, V); K]> for Features {
    fn from(features: [(N, V); K]) -> Self {
        features.into_iter().collect()
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
        assert!(!set.is_empty() && Features::new().is_empty());
    }

    #[test]
    fn shared_names_must_be_in_order_and_have_a_value_each() {
        let names = |names: &[&str]| Arc::new(names.iter().collect());
        assert!(Features::of_names(&names(&["a", "b"]), vec![1.into(), 2.into()]).is_ok());
        for (wrong, values) in [(["b", "a"], 2), (["a", "a"], 2), (["a", "b"], 1)] {
            assert!(
                Features::of_names(&names(&wrong), vec![1.into(); values]).is_err(),
                "{wrong:?} {values}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn set_one_by_one_or_collected_features_are_those_of_a_map(
            writes in proptest::collection::vec(("[ab\u{e9}]{0,3}", 0..9i32), 0..20)
        ) {
            let collected: Features = writes.iter().map(|(name, value)| (name, *value)).collect();
            let mut set = Features::new();
            writes.iter().for_each(|(name, value)| set.set(name, *value));
            proptest::prop_assert_eq!(&collected, &set);

            let map: std::collections::BTreeMap<_, _> = writes.into_iter().collect();
            for (name, value) in &map {
                proptest::prop_assert_eq!(set.get(name), Some(&(*value).into()));
            }
            let of_map = map.iter().map(|(name, value)| (name, *value)).collect();
            proptest::prop_assert_eq!(set, of_map);
        }
    }
}
