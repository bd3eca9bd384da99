//! Where in an input everything stands.

use std::sync::Arc;

use feature_core::{FeatureValue, ValueType};

use crate::mapping::Named;

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum At {
    /// The column at this index.
    Column(usize),
    /// The same text in every row, from the name of a folder; `None` is null.
    Constant(Option<String>),
}

/// A feature of an input.
#[derive(Clone, Debug)]
pub(crate) struct FeatureAt {
    pub(crate) name: Arc<str>,
    pub(crate) from: From,
    /// What its values become, where the column does not decide that.
    pub(crate) wanted: Option<ValueType>,
    /// Whether a view states that, or it was told from other rows or files.
    pub(crate) declared: bool,
}

/// Where a feature's value comes from.
#[derive(Clone, Debug)]
pub(crate) enum From {
    /// The column at this index.
    Column(usize),
    /// The same in every row.
    Value(FeatureValue),
}

/// Where in an input everything stands.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) entity: Vec<At>,
    pub(crate) timestamp: Option<At>,
    /// Sorted by name.
    pub(crate) features: Vec<FeatureAt>,
}

impl Layout {
    /// The features' names, for all rows.
    pub(crate) fn named(&self) -> Named {
        Named::new(self.features.iter().map(|feature| &*feature.name))
    }

    /// The columns that are read, in ascending order.
    pub(crate) fn read(&self) -> Vec<usize> {
        let keys = self.entity.iter().chain(&self.timestamp).filter_map(|at| match at {
            At::Column(at) => Some(*at),
            At::Constant(_) => None,
        });
        let features = self.features.iter().filter_map(|feature| match feature.from {
            From::Column(at) => Some(at),
            From::Value(_) => None,
        });
        let mut read: Vec<_> = keys.chain(features).collect();
        read.sort_unstable();
        read.dedup();
        read
    }

    /// The same for batches that have no columns but those that are [`read`](Self::read).
    pub(crate) fn projected(mut self) -> Self {
        let read = self.read();
        let place = |at: &mut usize| *at = read.binary_search(at).unwrap_or_default();
        for at in self.entity.iter_mut().chain(&mut self.timestamp) {
            if let At::Column(at) = at {
                place(at);
            }
        }
        for feature in &mut self.features {
            if let From::Column(at) = &mut feature.from {
                place(at);
            }
        }
        self
    }
}
