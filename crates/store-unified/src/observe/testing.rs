//! What tests look at: what has been counted, and which spans there were.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use metrics::Key;
use metrics_util::debugging::{DebugValue, Snapshotter};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::names::Metric;

/// Values of metrics.
pub(crate) struct Seen(HashMap<Key, DebugValue>);

impl Seen {
    #[expect(clippy::needless_pass_by_value, reason = "a snapshot takes what it shows")]
    pub(crate) fn new(snapshotter: Snapshotter) -> Self {
        let values = snapshotter.snapshot().into_vec().into_iter();
        Self(values.map(|(key, _, _, value)| (key.key().clone(), value)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn value(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Option<&DebugValue> {
        let mut found = self.0.iter().filter(|(key, _)| {
            let own = key.labels().map(|label| (label.key(), label.value()));
            key.name() == metric.name && own.eq(labels.iter().copied())
        });
        found.next().map(|(_, value)| value)
    }

    pub(crate) fn counter(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> u64 {
        match self.value(metric, labels) {
            Some(DebugValue::Counter(count)) => *count,
            other => panic!("{} {labels:?} is {other:?}", metric.name),
        }
    }

    pub(crate) fn histogram(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Vec<f64> {
        match self.value(metric, labels) {
            Some(DebugValue::Histogram(values)) => values.iter().map(|value| value.into_inner()).collect(),
            other => panic!("{} {labels:?} is {other:?}", metric.name),
        }
    }
}

/// Keeps each span as a line: its name and fields.
#[derive(Clone, Default)]
pub(crate) struct Spans(Arc<Mutex<Vec<String>>>);

impl Spans {
    pub(crate) fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {}={value}", field.name()).unwrap();
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        assert!(!metadata.is_span() || *metadata.level() == Level::DEBUG);
        metadata.is_span() && metadata.target().starts_with("store_unified")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = span.metadata().name().to_owned();
        span.record(&mut Line(&mut line));
        let mut lines = self.0.lock().unwrap();
        lines.push(line);
        Id::from_u64(lines.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let at = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Line(&mut self.0.lock().unwrap()[at]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
