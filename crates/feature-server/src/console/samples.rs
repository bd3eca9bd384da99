//! What metrics were in the last minutes: samples of the registry, never a question to a store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How many samples are kept: a quarter of an hour of one every five seconds.
const KEPT: usize = 181;
/// How many series are kept apart. Their labels are bounded by the settings, and this is more than those come to.
const SERIES: usize = 4_000;

/// One line of metrics, without its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    labels: Vec<(String, String)>,
}

impl Series {
    /// Reads `name{label="value"}`.
    fn parse(text: &str) -> Self {
        let (name, mut rest) = text.split_once('{').unwrap_or((text, ""));
        let mut labels = Vec::new();
        while let Some((label, after)) = rest.split_once("=\"") {
            let (mut value, mut end, mut escaped) = (String::new(), after.len(), false);
            for (at, c) in after.char_indices() {
                match c {
                    _ if escaped => {
                        value.push(if c == 'n' { '\n' } else { c });
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    c => value.push(c),
                }
            }
            labels.push((label.trim_start_matches(',').to_owned(), value));
            rest = &after[end..];
        }
        Self { name: name.to_owned(), labels }
    }

    /// The value of a label; empty where it has none of this name.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// Whether it has this name and these values of labels.
    pub(super) fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name && labels.iter().all(|(label, value)| self.label(label) == *value)
    }
}

/// The samples; a clone shares them.
#[derive(Clone, Default)]
pub(super) struct Samples {
    series: Arc<Vec<Series>>,
    index: Arc<HashMap<String, usize>>,
    /// Values by the number of their series; a series that came later is not in earlier ones.
    kept: VecDeque<(Instant, Arc<[f64]>)>,
}

impl Samples {
    /// Keeps a sample: what Prometheus would read.
    pub(super) fn take(&mut self, metrics: &str, now: Instant) {
        let mut values = vec![0.0; self.series.len()];
        for (text, value) in metrics.lines().filter_map(line) {
            let known = self.index.get(text).copied();
            let at = match known {
                Some(at) => at,
                None if self.series.len() >= SERIES => continue,
                None => {
                    Arc::make_mut(&mut self.series).push(Series::parse(text));
                    Arc::make_mut(&mut self.index).insert(text.to_owned(), self.series.len() - 1);
                    values.push(0.0);
                    self.series.len() - 1
                }
            };
            values[at] = value;
        }
        self.kept.push_back((now, values.into()));
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }

    /// How many steps there are between samples.
    pub(super) fn steps(&self) -> usize {
        self.kept.len().saturating_sub(1)
    }

    /// How much time lies between the first sample and the last.
    pub(super) fn span(&self) -> Duration {
        let ends = self.kept.front().zip(self.kept.back());
        ends.map(|((first, _), (last, _))| last.duration_since(*first)).unwrap_or_default()
    }

    /// The step at which the last so much time begins.
    pub(super) fn since(&self, window: Duration) -> usize {
        let last = self.kept.back().map(|(at, _)| *at);
        let begins = |at: &Instant| last.is_some_and(|last| last.duration_since(*at) <= window);
        self.kept.iter().position(|(at, _)| begins(at)).unwrap_or_default()
    }

    /// How much a counter grew from one sample to another.
    fn grown(&self, series: usize, from: usize, to: usize) -> f64 {
        let value = |sample: usize| {
            let (_, values) = self.kept.get(sample)?;
            Some(values.get(series).copied().unwrap_or_default())
        };
        match (value(from), value(to)) {
            (Some(before), Some(after)) => (after - before).max(0.0),
            _ => 0.0,
        }
    }

    fn matching(&self, which: impl Fn(&Series) -> bool) -> Vec<usize> {
        (0..self.series.len()).filter(|at| which(&self.series[*at])).collect()
    }

    /// How much counters grew since a step, together.
    pub(super) fn growth(&self, since: usize, which: impl Fn(&Series) -> bool) -> f64 {
        self.matching(which)
            .into_iter()
            .fold(0.0, |sum, series| sum + self.grown(series, since, self.steps()))
    }

    /// The same by the value of a label, those that did not grow left out.
    pub(super) fn growth_by(
        &self,
        label: &str,
        since: usize,
        which: impl Fn(&Series) -> bool,
    ) -> BTreeMap<&str, f64> {
        let mut all = BTreeMap::new();
        for series in self.matching(which) {
            let grown = self.grown(series, since, self.steps());
            if grown > 0.0 {
                *all.entry(self.series[series].label(label)).or_default() += grown;
            }
        }
        all
    }

    /// How fast counters grew since a step, a second.
    pub(super) fn rate(&self, since: usize, which: impl Fn(&Series) -> bool) -> f64 {
        let seconds = self.seconds(since, self.steps());
        if seconds > 0.0 { self.growth(since, which) / seconds } else { 0.0 }
    }

    /// How fast counters grew in each step, a second.
    pub(super) fn rates(&self, which: impl Fn(&Series) -> bool) -> Vec<Option<f64>> {
        let series = self.matching(which);
        let rate = |step: usize| {
            let seconds = self.seconds(step, step + 1);
            let grown = series.iter().fold(0.0, |sum, series| sum + self.grown(*series, step, step + 1));
            (seconds > 0.0).then(|| grown / seconds)
        };
        (0..self.steps()).map(rate).collect()
    }

    /// What gauges are now, by the value of a label.
    pub(super) fn now_by(&self, label: &str, name: &str) -> BTreeMap<&str, f64> {
        let Some((_, values)) = self.kept.back() else { return BTreeMap::new() };
        let of = self.matching(|series| series.name == name).into_iter();
        of.map(|at| (self.series[at].label(label), values.get(at).copied().unwrap_or_default())).collect()
    }

    /// A quantile of a histogram, from what came since a step.
    pub(super) fn quantile(&self, share: f64, since: usize, which: impl Fn(&Series) -> bool) -> Option<f64> {
        self.quantile_of(&self.buckets(which), share, since, self.steps())
    }

    /// A quantile in each stretch of so many steps.
    pub(super) fn quantiles(
        &self,
        share: f64,
        stretch: usize,
        which: impl Fn(&Series) -> bool,
    ) -> Vec<Option<f64>> {
        let buckets = self.buckets(which);
        let of = |end: usize| self.quantile_of(&buckets, share, (end + 1).saturating_sub(stretch), end + 1);
        (0..self.steps()).map(of).collect()
    }

    /// The series of a histogram's buckets, by their bounds.
    fn buckets(&self, which: impl Fn(&Series) -> bool) -> Vec<(f64, usize)> {
        let bound = |at: usize| self.series[at].label("le").parse().unwrap_or(f64::INFINITY);
        let mut buckets: Vec<(f64, usize)> = self
            .matching(|series| series.name.ends_with("_bucket") && which(series))
            .into_iter()
            .map(|at| (bound(at), at))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    /// Between the bounds of a bucket what was counted is taken to lie evenly.
    fn quantile_of(&self, buckets: &[(f64, usize)], share: f64, from: usize, to: usize) -> Option<f64> {
        let mut below: Vec<(f64, f64)> = Vec::new();
        for (bound, series) in buckets {
            let grown = self.grown(*series, from, to);
            match below.last_mut().filter(|(known, _)| known == bound) {
                Some((_, sum)) => *sum += grown,
                None => below.push((*bound, grown)),
            }
        }
        let all = below.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let wanted = share * all;
        let (mut lower, mut before) = (0.0, 0.0);
        for (bound, count) in below {
            if count >= wanted {
                let inside = if count > before { (wanted - before) / (count - before) } else { 1.0 };
                return Some(if bound.is_finite() { lower + (bound - lower) * inside } else { lower });
            }
            (lower, before) = (bound, count);
        }
        None
    }

    fn seconds(&self, from: usize, to: usize) -> f64 {
        match (self.kept.get(from), self.kept.get(to)) {
            (Some((from, _)), Some((to, _))) => to.duration_since(*from).as_secs_f64(),
            _ => 0.0,
        }
    }
}

/// A line of the store's own metrics.
fn line(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let own = series.starts_with("fstore_") && !series.starts_with("fstore_http_request_seconds_bucket");
    Some((series, value.parse().ok().filter(|_| own)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(texts: &[&str]) -> Samples {
        let (mut samples, start) = (Samples::default(), Instant::now());
        for (number, text) in texts.iter().enumerate() {
            samples.take(text, start + Duration::from_secs(5) * number as u32);
        }
        samples
    }

    #[test]
    fn lines_are_read_with_what_is_escaped_in_them() {
        let series = Series::parse(r#"fstore_x{store="a\"b\\c",le="0.5"}"#);
        assert_eq!(
            (&*series.name, series.label("store"), series.label("le")),
            ("fstore_x", r#"a"b\c"#, "0.5")
        );
        assert_eq!(Series::parse("fstore_x"), Series { name: "fstore_x".to_owned(), labels: Vec::new() });
        assert_eq!(line("# TYPE fstore_x counter"), None);
        assert_eq!(line("other 5"), None);
    }

    #[test]
    fn counters_grow_by_label_and_a_restart_is_no_growth() {
        let samples = samples(&[
            "fstore_r{s=\"ok\"} 10",
            "fstore_r{s=\"ok\"} 20\nfstore_r{s=\"bad\"} 5",
            "fstore_r{s=\"ok\"} 1\nfstore_r{s=\"bad\"} 15",
        ]);
        let all = |series: &Series| series.name == "fstore_r";
        assert_eq!(samples.rates(all), [Some(3.0), Some(2.0)]);
        assert_eq!(samples.growth_by("s", 1, all).into_iter().collect::<Vec<_>>(), [("bad", 10.0)]);
        assert_eq!(samples.growth(0, |series| series.is("fstore_r", &[("s", "bad")])), 15.0);
        assert_eq!((samples.since(Duration::from_secs(5)), samples.span()), (1, Duration::from_secs(10)));
        assert_eq!(samples.now_by("s", "fstore_r")["bad"], 15.0);
    }

    #[test]
    fn quantiles_lie_evenly_in_their_bucket() {
        let of = |one: u32, two: u32, all: u32| {
            format!(
                "fstore_h_bucket{{le=\"1\"}} {one}\nfstore_h_bucket{{le=\"2\"}} {two}\nfstore_h_bucket{{le=\"+Inf\"}} {all}"
            )
        };
        let samples = samples(&[&of(5, 5, 5), &of(5, 15, 15), &of(5, 15, 16)]);
        let all = |_: &Series| true;
        assert_eq!(samples.quantiles(0.5, 1, all), [Some(1.5), Some(2.0)]);
        assert_eq!(samples.quantile(1.0, 0, all), Some(2.0), "what is beyond the last bound counts as that");
        assert_eq!(samples.quantile(0.5, 2, all), None);
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let (mut samples, start) = (Samples::default(), Instant::now());
        let text: String = (0..2 * SERIES).map(|n| format!("fstore_x{{n=\"{n}\"}} 1\n")).collect();
        for step in 0..2 * KEPT as u32 {
            samples.take(if step == 0 { &text } else { "" }, start + Duration::from_secs(1) * step);
        }
        assert_eq!((samples.series.len(), samples.kept.len()), (SERIES, KEPT));
    }
}
