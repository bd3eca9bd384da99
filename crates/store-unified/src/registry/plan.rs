//! What a list of references comes to: which features of which views, and what they are called.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use feature_core::{EntityKey, Error, FeatureNames, FeatureView, Result, ValueType};

use super::reference::FeatureRef;

/// How many missing join keys an error lists.
const MAX_PROBLEMS: usize = 20;

/// A list of references, resolved. A service is resolved once, when its registry is built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In the order of the list.
    pub(crate) columns: Vec<ColumnSpec>,
    /// How many of them hold floats.
    pub(crate) floats: usize,
    /// In order of first appearance.
    pub(crate) views: Vec<PlannedView>,
    /// The different sets of join keys that the views have, each sorted.
    pub(crate) join_keys: Vec<Vec<String>>,
}

/// What there is to say about a column before it has values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ColumnSpec {
    pub(crate) name: String,
    /// Names one feature.
    pub(crate) reference: FeatureRef,
    pub(crate) value_type: ValueType,
    /// The number of its view in the plan.
    pub(crate) view: usize,
    pub(crate) slot: Slot,
}

/// Where the values of a column are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// It is this one of those that hold `float64`.
    Floats(usize),
    /// It is this one of the others.
    Values(usize),
}

/// What is wanted of one view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PlannedView {
    pub(crate) name: String,
    /// Which of the plan's sets of join keys its entities have.
    pub(crate) join_keys: usize,
    pub(crate) features: Arc<FeatureNames>,
    /// For each feature its column, and where the values of that are kept.
    pub(crate) columns: Vec<(usize, Slot)>,
}

impl Plan {
    /// Resolves a list against the declared views.
    ///
    /// # Errors
    /// Everything that is wrong with the list.
    pub(crate) fn resolve(
        views: &BTreeMap<String, FeatureView>,
        wanted: &[FeatureRef],
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        if wanted.is_empty() {
            problems.push("it names no feature".to_owned());
        }
        let mut features: Vec<(&FeatureView, &str, ValueType)> = Vec::with_capacity(wanted.len());
        for reference in wanted {
            let Some(view) = views.get(reference.view()) else {
                let hint = hint(reference.view(), views.keys());
                problems.push(format!("`{reference}` is of a feature view that is not declared{hint}"));
                continue;
            };
            match reference.feature() {
                None => {
                    let all = view.features.iter().map(|(name, of_type)| (view, &**name, *of_type));
                    features.extend(all);
                }
                Some(name) => match view.features.get_key_value(name) {
                    Some((name, of_type)) => features.push((view, name, *of_type)),
                    None => {
                        let hint = hint(name, view.features.keys());
                        problems.push(format!("feature view `{}` has no feature `{name}`{hint}", view.name));
                    }
                },
            }
        }
        let mut seen = HashSet::with_capacity(features.len());
        features.retain(|(view, name, _)| {
            let first = seen.insert((&view.name, *name));
            if !first {
                problems.push(format!("`{}` is named twice", FeatureRef::new(&view.name, *name)));
            }
            first
        });
        let plan = Self::of(&features);
        problems.extend(plan.clashes());
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    fn of(features: &[(&FeatureView, &str, ValueType)]) -> Self {
        let mut times: HashMap<&str, usize> = HashMap::with_capacity(features.len());
        features.iter().for_each(|(_, name, _)| *times.entry(name).or_default() += 1);
        let mut plan = Self {
            columns: Vec::with_capacity(features.len()),
            floats: 0,
            views: Vec::new(),
            join_keys: Vec::new(),
        };
        let mut names: Vec<Vec<&str>> = Vec::new();
        for (column, &(view, feature, value_type)) in features.iter().enumerate() {
            let unique = times.get(feature) == Some(&1);
            let name = if unique { feature.to_owned() } else { format!("{}__{feature}", view.name) };
            let reference = FeatureRef::new(&view.name, feature);
            let slot = match value_type {
                ValueType::Float64 => Slot::Floats(plan.floats),
                _ => Slot::Values(column - plan.floats),
            };
            plan.floats += usize::from(matches!(slot, Slot::Floats(_)));
            let number = plan.view(view);
            names.resize_with(plan.views.len(), Vec::new);
            names[number].push(feature);
            plan.views[number].columns.push((column, slot));
            plan.columns.push(ColumnSpec { name, reference, value_type, view: number, slot });
        }
        for (view, names) in plan.views.iter_mut().zip(names) {
            view.features = Arc::new(names.iter().collect());
        }
        plan
    }

    /// The number of the view in the plan.
    fn view(&mut self, view: &FeatureView) -> usize {
        self.views.iter().position(|planned| planned.name == view.name).unwrap_or_else(|| {
            let mut own = view.entities.clone();
            own.sort_unstable();
            let join_keys = self.join_keys.iter().position(|known| *known == own).unwrap_or_else(|| {
                self.join_keys.push(own);
                self.join_keys.len() - 1
            });
            let name = view.name.clone();
            self.views.push(PlannedView { name, join_keys, features: Arc::default(), columns: Vec::new() });
            self.views.len() - 1
        })
    }

    /// The names that several columns still share.
    fn clashes(&self) -> Vec<String> {
        let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for column in &self.columns {
            by_name.entry(&column.name).or_default().push(format!("`{}`", column.reference));
        }
        by_name.retain(|_, references| references.len() > 1);
        by_name
            .into_iter()
            .map(|(name, references)| {
                format!("{} would all be called `{name}` in the result", references.join(" and "))
            })
            .collect()
    }

    /// The entities with only the join keys of each set, in the order of the sets.
    ///
    /// # Errors
    /// `InvalidArgument` with every row that lacks a join key of a view, up to a point.
    pub(crate) fn project(&self, entities: &[EntityKey]) -> Result<Vec<Vec<EntityKey>>> {
        let project = |join_keys: &Vec<String>| entities.iter().map(|key| key.project(join_keys)).collect();
        match self.join_keys.iter().map(project).collect() {
            Some(projected) => Ok(projected),
            None => Err(self.lacking(entities)),
        }
    }

    fn lacking(&self, entities: &[EntityKey]) -> Error {
        let mut problems = Vec::new();
        for (row, key) in entities.iter().enumerate() {
            for view in &self.views {
                let lacks = self.join_keys[view.join_keys].iter().filter(|name| key.value_of(name).is_none());
                problems.extend(lacks.map(|name| {
                    format!("row {row} (`{key}`) lacks `{name}`, which feature view `{}` needs", view.name)
                }));
            }
        }
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        let more = if more > 0 { format!("; and so on, {more} more") } else { String::new() };
        Error::invalid_argument(format!("the request cannot be served: {}{more}", problems.join("; ")))
    }
}

/// The existing name that was probably meant, as the end of a message; empty where none is similar.
pub(crate) fn hint<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let far = 1 + name.chars().count() / 4;
    known
        .map(|known| (strsim::osa_distance(name, known), known))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"))
}
