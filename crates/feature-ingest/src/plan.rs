//! What the columns of all inputs become, decided before anything is written.

use std::sync::Arc;

use feature_core::{FeatureValue, MAX_FEATURE_NAME_BYTES, MAX_FEATURES, ValueType};

use crate::error::{IngestError, Result};
use crate::guess::Guess;
use crate::layout::{At, FeatureAt, From, Layout};
use crate::mapping::{Mapping, quoted};
use crate::options::MissingColumns;
use crate::schema::{Kind, SourceColumn, TimeKind, fits};
use crate::text::typed_in;

/// What is done with a column.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnPlan {
    /// Its name.
    pub name: String,
    /// What it is used for.
    pub role: ColumnRole,
    /// What it is in the input, in the words of the format.
    pub found: String,
    /// The type of feature that its values become; `None` when it is no feature, or when each value decides.
    pub becomes: Option<ValueType>,
    /// What a reader should know about it.
    pub note: Option<String>,
}

/// What a column is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnRole {
    /// Part of the entity key.
    Entity,
    /// The event time.
    EventTime,
    /// A feature.
    Feature,
    /// Nothing.
    Unused,
}

impl ColumnRole {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::EventTime => "event time",
            Self::Feature => "feature",
            Self::Unused => "unused",
        }
    }
}

/// The columns of one input.
pub(crate) struct InputColumns {
    pub(crate) input: String,
    pub(crate) columns: Vec<SourceColumn>,
    pub(crate) partitions: Vec<(String, Option<String>)>,
    /// Whether every row has the columns and no others.
    pub(crate) fixed: bool,
}

/// What the columns of all inputs become.
pub(crate) struct Plan {
    pub(crate) columns: Vec<ColumnPlan>,
    /// Sorted by name.
    features: Vec<Feature>,
}

struct Feature {
    name: Arc<str>,
    value_type: Option<ValueType>,
    declared: bool,
    /// Whether the inputs have it as different types, so that values must be made one.
    mixed: bool,
}

/// A column, as all inputs together have it.
struct Merged {
    name: String,
    found: String,
    types: Vec<ValueType>,
    guess: Option<Guess>,
}

impl Plan {
    /// Decides what the columns of these inputs become.
    pub(crate) fn new(inputs: &[InputColumns], mapping: &Mapping) -> Result<Self> {
        let mut merged: Vec<Merged> = Vec::new();
        for input in inputs {
            check_twice(input, mapping)?;
            for column in input.own_columns() {
                merge(&mut merged, column.name.clone(), &column.found, &column.kind);
            }
            for (name, value) in &input.partitions {
                let mut guess = Guess::default();
                if let Some(value) = value {
                    guess.see(0, value, &mapping.zone);
                }
                merge(&mut merged, name.clone(), "name of a folder", &Kind::Texts(Box::new(guess)));
            }
        }
        let mut plan = Self { columns: Vec::new(), features: Vec::new() };
        for column in &merged {
            plan.take(column, mapping);
        }
        for name in mapping.features.iter().flatten() {
            if !merged.iter().any(|own| own.name == *name) {
                plan.features.push(Feature::declared(name, mapping));
            }
        }
        plan.features.sort_by(|a, b| a.name.cmp(&b.name));
        plan.check_features(inputs, mapping)?;
        for input in inputs {
            plan.check_input(input, mapping)?;
        }
        Ok(plan)
    }

    fn take(&mut self, column: &Merged, mapping: &Mapping) {
        let Merged { name, found, types, guess } = column;
        let is_key = mapping.entity.contains(name);
        let is_time = mapping.timestamp.as_ref() == Some(name);
        let told = guess.as_ref().map(|guess| guess.tell(mapping.decimals));
        let declared = mapping.declared(name);
        let value_type = declared.or(types.first().copied()).or(told.as_ref().map(|told| told.value_type));
        let mut note = told.and_then(|told| told.note).filter(|_| declared.is_none() && types.is_empty());
        let nameless = name.is_empty() && mapping.features.is_none();
        let is_feature = mapping.is_feature(name) && !nameless;
        if is_feature {
            let mixed =
                types.iter().any(|own| Some(*own) != value_type) || (guess.is_some() && !types.is_empty());
            self.features.push(Feature {
                name: name.as_str().into(),
                value_type,
                declared: declared.is_some(),
                mixed,
            });
        } else {
            note = (nameless && mapping.is_feature(name))
                .then(|| "left out, since a feature needs a name; pandas writes its index so".to_owned());
        }
        let role = match (is_key, is_time, is_feature) {
            (true, ..) => ColumnRole::Entity,
            (_, true, _) => ColumnRole::EventTime,
            (.., true) => ColumnRole::Feature,
            _ => ColumnRole::Unused,
        };
        self.columns.push(ColumnPlan {
            name: name.clone(),
            role,
            found: found.clone(),
            becomes: value_type.filter(|_| is_feature),
            note,
        });
    }

    fn check_features(&self, inputs: &[InputColumns], mapping: &Mapping) -> Result<()> {
        if self.features.is_empty() && inputs.iter().any(|input| input.fixed) {
            let known = quoted(self.columns.iter().map(|column| column.name.as_str()));
            return Err(IngestError::Request(format!("none of the columns is a feature; they are {known}")));
        }
        if self.features.len() > MAX_FEATURES {
            let count = self.features.len();
            return Err(IngestError::Request(format!(
                "{count} columns are features; a record has at most {MAX_FEATURES}"
            )));
        }
        for feature in &self.features {
            let name = &feature.name;
            if name.is_empty() {
                return Err(IngestError::Request("a feature column has no name; give it one".to_owned()));
            }
            if name.len() > MAX_FEATURE_NAME_BYTES {
                let (start, length) = (name.chars().take(40).collect::<String>(), name.len());
                return Err(IngestError::Request(format!(
                    "the name of the feature column `{start}…` has {length} bytes; at most {MAX_FEATURE_NAME_BYTES} \
                     are possible"
                )));
            }
        }
        let both = |name: &&String| mapping.exclude.contains(name);
        if let Some(name) = mapping.features.iter().flatten().find(both) {
            return Err(IngestError::Request(format!("the column `{name}` is both a feature and excluded")));
        }
        Ok(())
    }

    /// Checks that an input has what is wanted, in types that can be it.
    fn check_input(&self, input: &InputColumns, mapping: &Mapping) -> Result<()> {
        if !input.fixed {
            // A row may lack what it needs. That all of the first do is a wrong name.
            let needed = mapping.entity.iter().map(|name| (name, "entity"));
            for (name, what) in needed.chain(mapping.timestamp.iter().map(|name| (name, "timestamp"))) {
                if !input.columns.is_empty() {
                    input.column(name, what)?;
                }
            }
            return Ok(());
        }
        let refuse = |what: &str, column: &SourceColumn, why: &str| {
            let (file, name, found) = (&input.input, &column.name, &column.found);
            IngestError::Request(format!("{file}: the {what} column `{name}` is {found}: {why}"))
        };
        for name in &mapping.entity {
            if let Some(column) = input.column(name, "entity")?
                && let Kind::Typed { no_entity: Some(why), .. } = &column.kind
            {
                return Err(refuse("entity", column, why));
            }
        }
        if let Some(name) = &mapping.timestamp
            && let Some(column) = input.column(name, "timestamp")?
        {
            let needs_unit = match &column.kind {
                Kind::Texts(guess) => guess.is_number(),
                Kind::Typed { time: TimeKind::Never, .. } => {
                    let why = "an event time is a time, a date, RFC 3339 text or a number";
                    return Err(refuse("timestamp", column, why));
                }
                Kind::Typed { time, .. } => *time == TimeKind::Number,
            };
            if needs_unit && mapping.unit.is_none() {
                return Err(refuse("timestamp", column, crate::time::NEEDS_UNIT));
            }
        }
        for feature in &self.features {
            if !input.has(&feature.name) && mapping.missing == MissingColumns::Null {
                continue;
            }
            let Some(column) = input.column(&feature.name, "feature")? else { continue };
            let Kind::Typed { feature: found, as_text, .. } = &column.kind else { continue };
            let found = found.as_ref().map_err(|why| refuse("feature", column, why))?;
            if let (Some(found), Some(wanted)) = (*found, feature.value_type)
                && !fits(found, wanted)
                && !(*as_text && wanted == ValueType::String)
            {
                let who = if feature.declared { "the feature view" } else { "another file" };
                return Err(refuse("feature", column, &format!("{who} says {wanted}")));
            }
        }
        Ok(())
    }

    /// Where everything stands in an input.
    pub(crate) fn layout(&self, input: &InputColumns, mapping: &Mapping) -> Result<Layout> {
        let at = |name: &String| match input.partition(name) {
            Some(value) => At::Constant(value.clone()),
            None => At::Column(input.place(name).unwrap_or_default()),
        };
        let feature = |feature: &Feature| {
            let name = Arc::clone(&feature.name);
            let from = match (input.partition(&name), input.place(&name)) {
                (Some(Some(text)), _) => {
                    let wanted = feature.value_type.unwrap_or(ValueType::String);
                    let value = typed_in(text, wanted, &mapping.zone).map_err(|e| {
                        IngestError::Request(format!("{}: feature `{name}`: {}", input.input, e.message()))
                    })?;
                    From::Value(value)
                }
                (None, Some(at)) => From::Column(at),
                _ => From::Value(FeatureValue::Null),
            };
            let text = matches!(from, From::Column(at) if matches!(input.columns[at].kind, Kind::Texts(_)));
            let wanted = feature.value_type.filter(|_| feature.declared || feature.mixed || text);
            Ok(FeatureAt { name, from, wanted, declared: feature.declared })
        };
        // Rows without fixed columns say themselves what they have.
        let fixed = |feature: &&Feature| input.fixed || input.partition(&feature.name).is_some();
        Ok(Layout {
            entity: mapping.entity.iter().map(at).collect(),
            timestamp: mapping.timestamp.as_ref().map(at),
            features: self.features.iter().filter(fixed).map(feature).collect::<Result<_>>()?,
        })
    }
}

impl Feature {
    fn declared(name: &str, mapping: &Mapping) -> Self {
        let declared = mapping.declared(name);
        Self { name: name.into(), value_type: declared, declared: declared.is_some(), mixed: false }
    }
}

impl InputColumns {
    /// The columns of the input itself: what a folder says counts more.
    fn own_columns(&self) -> impl Iterator<Item = &SourceColumn> {
        self.columns.iter().filter(|column| self.partition(&column.name).is_none())
    }

    fn partition(&self, name: &str) -> Option<&Option<String>> {
        self.partitions.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    fn has(&self, name: &str) -> bool {
        self.partition(name).is_some() || self.place(name).is_some()
    }

    /// The column of this name; `None` when a folder gives it.
    fn column(&self, name: &str, what: &str) -> Result<Option<&SourceColumn>> {
        if self.partition(name).is_some() {
            return Ok(None);
        }
        let column = self.columns.iter().find(|column| column.name == name);
        column.map(Some).ok_or_else(|| {
            let partitions = self.partitions.iter().map(|(name, _)| name.as_str());
            let known = quoted(self.columns.iter().map(|column| column.name.as_str()).chain(partitions));
            IngestError::Request(format!(
                "{} has no {what} column `{name}`; its columns are {known}",
                self.input
            ))
        })
    }
}

/// Refuses a column that is wanted and of which there are two.
fn check_twice(input: &InputColumns, mapping: &Mapping) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for column in input.own_columns() {
        let name = &column.name;
        let wanted = mapping.entity.contains(name)
            || mapping.timestamp.as_ref() == Some(name)
            || (mapping.is_feature(name) && !name.is_empty());
        if !seen.insert(name) && wanted {
            return Err(IngestError::Request(format!("{} has the column `{name}` twice", input.input)));
        }
    }
    Ok(())
}

fn merge(merged: &mut Vec<Merged>, name: String, found: &str, kind: &Kind) {
    let own = match merged.iter().position(|own| own.name == name) {
        Some(at) => &mut merged[at],
        None => {
            merged.push(Merged { name, found: found.to_owned(), types: Vec::new(), guess: None });
            let last = merged.len() - 1;
            &mut merged[last]
        }
    };
    match kind {
        Kind::Texts(guess) => match &mut own.guess {
            Some(before) => before.merge(guess),
            before => *before = Some((**guess).clone()),
        },
        Kind::Typed { feature: Ok(Some(value_type)), .. } if !own.types.contains(value_type) => {
            own.types.push(*value_type);
        }
        Kind::Typed { .. } => {}
    }
}
