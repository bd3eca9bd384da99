//! `cargo xtask bench --record`, `--publish` and `--check`: what was measured, the page that says so, and whether it
//! has become worse.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench;
use crate::process::{Result, output, root};

/// A benchmark is run so often; the median counts.
const RUNS: usize = 3;

/// What is compared when no benchmark is named: those that have a plain client beside them.
const COMPARED: [&str; 4] = ["embedded", "redis", "aerospike", "unified"];

/// What is aimed at: a ratio to the plain client.
const AIMS: [(&str, &str, f64); 15] = [
    ("embedded", "batch_read_100x50", 0.75),
    ("embedded", "read_1x50", 0.7),
    ("embedded", "batch_write_100x50", 0.65),
    ("embedded", "write_1x50_64_in_flight", 0.7),
    ("redis", "batch_read_100x50", 0.95),
    ("redis", "batch_read_100x5_of_50", 0.95),
    ("redis", "batch_read_100x5views_x10", 0.85),
    ("redis", "batch_write_100x50", 0.65),
    ("redis", "write_1x50", 0.9),
    ("aerospike", "batch_read_100x50", 0.92),
    ("aerospike", "batch_write_100x50", 0.85),
    ("aerospike", "read_1x50_16_in_flight", 0.92),
    ("aerospike", "read_1x50_64_in_flight", 0.92),
    ("unified", "request_100x5views_x10", 0.9),
    ("unified", "request_100x5views_x10_to_arrow", 1.1),
];

/// What has been measured, by benchmark.
type Recorded = BTreeMap<String, Benchmark>;

#[derive(Debug, Deserialize, Serialize)]
struct Benchmark {
    /// When and on what.
    date: String,
    machine: String,
    lines: BTreeMap<String, Line>,
}

/// A number for each run, lowest first.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Line {
    ours_per_s: Vec<f64>,
    raw_per_s: Vec<f64>,
    ratio: Vec<f64>,
}

fn file() -> PathBuf {
    root().join("xtask/ratios.json")
}

fn page() -> PathBuf {
    root().join("docs/benchmarks.md")
}

fn read() -> Result<Recorded> {
    let text = std::fs::read_to_string(file()).map_err(|e| format!("{}: {e}", file().display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Runs one benchmark, or all that are compared, and writes what they give down.
pub(crate) fn record(name: Option<&str>) -> Result<ExitCode> {
    if let Some(name) = name.filter(|name| !COMPARED.contains(name)) {
        return Err(
            format!("`{name}` has no plain client beside it; known are {}", COMPARED.join(", ")).into()
        );
    }
    let mut recorded = if file().is_file() { read()? } else { Recorded::new() };
    for name in COMPARED.into_iter().filter(|own| name.is_none_or(|name| name == *own)) {
        let date = output(Command::new("date").args(["-u", "+%F"]))?.trim().to_owned();
        recorded.insert(name.to_owned(), Benchmark { date, machine: machine(), lines: measure(name)? });
    }
    std::fs::write(file(), format!("{:#}\n", serde_json::to_value(recorded)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The processor and how many of it, as far as the system tells.
fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{cores} cores of {model}")
}

/// Writes what is recorded into the page of benchmarks.
pub(crate) fn publish() -> Result<ExitCode> {
    let text = std::fs::read_to_string(page())?;
    std::fs::write(page(), filled_in(&text, &read()?)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The page, with a table of each benchmark between its marks.
fn filled_in(page: &str, recorded: &Recorded) -> Result<String> {
    let mut page = page.to_owned();
    for (name, benchmark) in recorded {
        let begin = format!("<!-- figures of {name} -->\n");
        let from =
            page.find(&begin).ok_or_else(|| format!("the page has no `{}`", begin.trim()))? + begin.len();
        let end =
            page[from..].find("<!-- end -->").ok_or_else(|| format!("`{}` has no end", begin.trim()))?;
        page.replace_range(from..from + end, &benchmark.table(name));
    }
    Ok(page)
}

impl Benchmark {
    fn table(&self, name: &str) -> String {
        let Self { date, machine, lines } = self;
        let runs = lines.values().map(|line| line.ratio.len()).max().unwrap_or_default();
        let runs = if runs == 1 { "one run".to_owned() } else { format!("the median of {runs} runs") };
        let mut text = format!("Records per second, {runs} on {date}, {machine}.\n\n");
        text.push_str("| | ours | plain client | ratio | runs | aim |\n|---|---|---|---|---|---|\n");
        for (line, Line { ours_per_s, raw_per_s, ratio }) in lines {
            let aim = AIMS.iter().find(|(of, own, _)| of == &name && own == line);
            let aim = aim.map(|(_, _, aim)| aim.to_string()).unwrap_or_default();
            let (ours, raw) = (thousands(median(ours_per_s)), thousands(median(raw_per_s)));
            let all: Vec<_> = ratio.iter().map(|ratio| format!("{ratio:.2}")).collect();
            let all = all.join(", ");
            text.push_str(&format!("| `{line}` | {ours} | {raw} | {:.2} | {all} | {aim} |\n", median(ratio)));
        }
        text
    }
}

/// To the thousand from 100,000 on, to the hundred from 10,000, else to ten.
fn thousands(value: f64) -> String {
    let step = if value >= 1e5 {
        1e3
    } else if value >= 1e4 {
        1e2
    } else {
        10.0
    };
    let digits = format!("{:.0}", (value / step).round() * step);
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Runs one benchmark, or all whose ratios are written down, and says what has become worse.
pub(crate) fn check(name: Option<&str>) -> Result<ExitCode> {
    let ratios = read()?;
    if let Some(name) = name.filter(|name| !ratios.contains_key(*name)) {
        return Err(format!("no ratios of `{name}` are written down; `--record` does that").into());
    }
    let mut code = ExitCode::SUCCESS;
    for (benchmark, recorded) in ratios.iter().filter(|(own, _)| name.is_none_or(|name| name == *own)) {
        let now = measure(benchmark)?;
        println!("{benchmark}: ratio to the plain client, median of {RUNS} runs, and what is noise");
        for (line, Line { ratio: before, .. }) in &recorded.lines {
            let Some(Line { ratio: now, .. }) = now.get(line) else {
                println!("  {line:36} {:.2} before; it is no longer measured", median(before));
                code = ExitCode::FAILURE;
                continue;
            };
            let (noise, worse) = compare(before, now);
            let verdict = if worse { "WORSE" } else { "" };
            let (before, now) = (median(before), median(now));
            println!("  {line:36} {before:.2} before, {now:.2} now, ±{noise:.2} {verdict}");
            if worse {
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// What is noise between these runs, and whether the later ones are worse by more than that.
fn compare(before: &[f64], now: &[f64]) -> (f64, bool) {
    let noise = spread(before) + spread(now);
    (noise, median(now) < median(before) - noise)
}

fn spread(sorted: &[f64]) -> f64 {
    sorted.last().zip(sorted.first()).map_or(0.0, |(most, least)| most - least)
}

fn median(sorted: &[f64]) -> f64 {
    // Of two the lower.
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

fn measure(name: &str) -> Result<BTreeMap<String, Line>> {
    let folder = tempfile::tempdir()?;
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for run in 0..RUNS {
        let results = folder.path().join(format!("{run}.json"));
        bench::run(name, false, Some(&results))?;
        let results: Value = serde_json::from_str(&std::fs::read_to_string(results)?)?;
        for result in results["results"].as_array().into_iter().flatten() {
            let number = |of: &str| result[of].as_f64();
            let (Some(name), Some(ratio)) = (result["name"].as_str(), number("ratio")) else { continue };
            let line = lines.entry(name.to_owned()).or_default();
            line.ratio.push((ratio * 1_000.0).round() / 1_000.0);
            line.ours_per_s.push(number("ours_per_s").unwrap_or_default().round());
            line.raw_per_s.push(number("raw_per_s").unwrap_or_default().round());
        }
    }
    for Line { ours_per_s, raw_per_s, ratio } in lines.values_mut() {
        for runs in [ours_per_s, raw_per_s, ratio] {
            runs.sort_by(f64::total_cmp);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_beyond_the_noise_of_both_is_worse() {
        for (before, now, worse) in [
            ([0.90, 0.95, 1.00], [0.80, 0.85, 0.90], false),
            ([0.94, 0.95, 0.96], [0.84, 0.85, 0.86], true),
            ([0.94, 0.95, 0.96], [0.75, 0.85, 0.86], false),
            ([0.94, 0.95, 0.96], [1.44, 1.45, 1.46], false),
        ] {
            assert_eq!(compare(&before, &now).1, worse, "{before:?} {now:?}");
        }
    }

    #[test]
    fn what_is_recorded_is_what_the_page_says() {
        let recorded = read().unwrap();
        assert!(!recorded.is_empty());
        for (name, Benchmark { lines, .. }) in &recorded {
            assert!(COMPARED.contains(&name.as_str()), "{name}");
            assert!(lines.values().all(|line| !line.ratio.is_empty() && line.ratio.is_sorted()), "{name}");
        }
        let page = std::fs::read_to_string(page()).unwrap();
        assert_eq!(filled_in(&page, &recorded).unwrap(), page, "run `cargo xtask bench --publish`");
    }

    #[test]
    fn rates_are_rounded_to_what_can_be_told_apart() {
        for (value, text) in [(1_234_567.0, "1,235,000"), (45_678.0, "45,700"), (987.0, "990"), (4.0, "0")] {
            assert_eq!(thousands(value), text);
        }
    }
}
