//! `cargo xtask bench --check`: whether what is measured now is worse than what was written down.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::bench;
use crate::process::{Result, root};

/// A benchmark is run so often; the median counts.
const RUNS: usize = 3;

/// What is compared when no benchmark is named: those that have a plain client beside them.
const COMPARED: [&str; 4] = ["embedded", "redis", "aerospike", "unified"];

/// The ratios of each line of each benchmark, a number for each run, lowest first.
type Ratios = BTreeMap<String, BTreeMap<String, Vec<f64>>>;

fn file() -> PathBuf {
    root().join("xtask/ratios.json")
}

fn read() -> Result<Ratios> {
    let text = std::fs::read_to_string(file()).map_err(|e| format!("{}: {e}", file().display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Runs one benchmark, or all that are compared, and writes their ratios down.
pub(crate) fn record(name: Option<&str>) -> Result<ExitCode> {
    if let Some(name) = name.filter(|name| !COMPARED.contains(name)) {
        return Err(
            format!("`{name}` has no plain client beside it; known are {}", COMPARED.join(", ")).into()
        );
    }
    let mut ratios = if file().is_file() { read()? } else { Ratios::new() };
    for name in COMPARED.into_iter().filter(|own| name.is_none_or(|name| name == *own)) {
        ratios.insert(name.to_owned(), measure(name)?);
    }
    std::fs::write(file(), format!("{:#}\n", serde_json::to_value(ratios)?))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs one benchmark, or all whose ratios are written down, and says what has become worse.
pub(crate) fn check(name: Option<&str>) -> Result<ExitCode> {
    let ratios = read()?;
    if let Some(name) = name.filter(|name| !ratios.contains_key(*name)) {
        return Err(format!("no ratios of `{name}` are written down; `--record` does that").into());
    }
    let mut code = ExitCode::SUCCESS;
    for (benchmark, before) in ratios.iter().filter(|(own, _)| name.is_none_or(|name| name == *own)) {
        let now = measure(benchmark)?;
        println!("{benchmark}: ratio to the plain client, median of {RUNS} runs, and what is noise");
        for (line, before) in before {
            let Some(now) = now.get(line) else {
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
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn measure(name: &str) -> Result<BTreeMap<String, Vec<f64>>> {
    let folder = tempfile::tempdir()?;
    let mut lines: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for run in 0..RUNS {
        let results = folder.path().join(format!("{run}.json"));
        bench::run(name, false, Some(&results))?;
        let results: Value = serde_json::from_str(&std::fs::read_to_string(results)?)?;
        for result in results["results"].as_array().into_iter().flatten() {
            if let (Some(line), Some(ratio)) = (result["name"].as_str(), result["ratio"].as_f64()) {
                lines.entry(line.to_owned()).or_default().push((ratio * 1_000.0).round() / 1_000.0);
            }
        }
    }
    lines.values_mut().for_each(|ratios| ratios.sort_by(f64::total_cmp));
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
    fn what_is_written_down_can_be_read_and_names_benchmarks_that_exist() {
        let ratios = read().unwrap();
        assert!(!ratios.is_empty());
        for (name, lines) in ratios {
            assert!(COMPARED.contains(&name.as_str()), "{name}");
            assert!(lines.values().all(|runs| runs.len() == RUNS && runs.is_sorted()), "{name}");
        }
    }
}
