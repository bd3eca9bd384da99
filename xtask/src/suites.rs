//! From the output of `cargo test` to a table of suites.

use std::collections::HashMap;
use std::fmt::Write;

use crate::python::Outcome;

/// How many lines of what a suite says of its failures are repeated at the end.
const REPEATED: usize = 60;

/// What one test program, or the doctests of one crate, came to.
#[derive(Debug, Default, PartialEq)]
struct Suite {
    name: String,
    /// The backends that it says it has tested, mostly one, and how it got their servers.
    backends: Vec<String>,
    servers: Vec<String>,
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Reasons for ignoring, with how many tests each kept from running.
    reasons: Vec<(String, u64)>,
    /// What it says of each failure.
    failures: Vec<String>,
    /// Whether what follows is that.
    tells: bool,
    seconds: f64,
    finished: bool,
}

/// Every suite of a run, filled line by line.
#[derive(Debug, Default)]
pub(crate) struct Suites {
    /// File name of a test program, or library name for doctests: what the suite is called.
    names: HashMap<String, String>,
    suites: Vec<Suite>,
}

/// Tests of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Suites {
    pub(crate) fn new(names: HashMap<String, String>) -> Self {
        Self { names, suites: Vec::new() }
    }

    /// Adds a suite of tests that are not cargo's. What kept some from running is told as it is.
    pub(crate) fn add(&mut self, name: &str, outcome: Outcome, why: &str) {
        let Outcome { passed, failed, ignored } = outcome;
        let reasons = Some((why.to_owned(), ignored.max(failed))).filter(|(why, _)| !why.is_empty());
        let reasons = reasons.into_iter().collect();
        let name = name.to_owned();
        self.suites.push(Suite {
            name,
            passed,
            failed,
            ignored,
            reasons,
            finished: true,
            ..Suite::default()
        });
    }

    /// Takes note of a line of output, if it says something about suites.
    pub(crate) fn feed(&mut self, line: &str) {
        if let Some(name) = self.begun(line) {
            self.suites.push(Suite { name, ..Suite::default() });
            return;
        }
        let Some(suite) = self.suites.last_mut() else { return };
        if line == "failures:" {
            // The second list has nothing but names.
            suite.tells = suite.failures.is_empty();
        } else if suite.tells && suite.failures.len() < REPEATED {
            suite.failures.push(line.to_owned());
        }
        if let Some((backend, server)) = line.strip_prefix("suite: ").and_then(|rest| rest.split_once(" | "))
        {
            for (list, item) in [(&mut suite.backends, backend), (&mut suite.servers, server)] {
                let item = item.trim().to_owned();
                if !list.contains(&item) {
                    list.push(item);
                }
            }
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            suite.finished = true;
            // The doctests of a crate may come in several runs.
            suite.passed += count(counts, " passed");
            suite.failed += count(counts, " failed");
            suite.ignored += count(counts, " ignored");
            suite.seconds += seconds(counts);
        } else if let Some(reason) = ignored(line) {
            match suite.reasons.iter_mut().find(|(own, _)| own == reason) {
                Some((_, times)) => *times += 1,
                None => suite.reasons.push((reason.to_owned(), 1)),
            }
        }
    }

    /// The name of the suite that cargo says it begins. What a test prints is not mistaken for it, unless
    /// it names a program of this run.
    fn begun(&self, line: &str) -> Option<String> {
        let line = line.trim();
        if let Some(library) = line.strip_prefix("Doc-tests ") {
            return self.names.get(library).map(|package| format!("{package} doctests"));
        }
        let (_, program) = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?;
        self.names.get(program.rsplit(['/', '\\']).next()?).cloned()
    }

    /// Marks suites that have begun and not ended as failed: their program crashed.
    pub(crate) fn end(&mut self) {
        for suite in self.suites.iter_mut().filter(|suite| !suite.finished) {
            suite.failed += 1;
            suite.reasons.push(("the program ended without a result".to_owned(), 1));
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let sum = |field: fn(&Suite) -> u64| self.suites.iter().map(field).sum();
        Totals { passed: sum(|s| s.passed), failed: sum(|s| s.failed), ignored: sum(|s| s.ignored) }
    }

    /// What failing suites say of their failures, so that nobody has to look for it.
    pub(crate) fn failures(&self) -> String {
        let failed = self.suites.iter().filter(|suite| suite.failed > 0);
        failed.map(|suite| format!("FAILED {}\n{}\n", suite.name, suite.failures.join("\n"))).collect()
    }

    /// The table, of those suites that had anything to run.
    pub(crate) fn table(&self) -> String {
        let header = ["suite", "backend", "server", "passed", "failed", "ignored", "seconds", "why"]
            .map(str::to_owned);
        let or_dash = |items: &[String]| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
        let row = |suite: &Suite| {
            let reasons = suite.reasons.iter().map(|(reason, times)| format!("{times}: {reason}"));
            [
                suite.name.clone(),
                or_dash(&suite.backends),
                or_dash(&suite.servers),
                suite.passed.to_string(),
                suite.failed.to_string(),
                suite.ignored.to_string(),
                format!("{:.0}", suite.seconds),
                reasons.collect::<Vec<_>>().join("; "),
            ]
        };
        let had_work = |suite: &&Suite| suite.passed + suite.failed + suite.ignored > 0;
        let rows: Vec<_> =
            std::iter::once(header).chain(self.suites.iter().filter(had_work).map(row)).collect();
        aligned(&rows)
    }
}

/// The number before `what` in `ok. 12 passed; 0 failed; 1 ignored; …`.
fn count(counts: &str, what: &str) -> u64 {
    let before = counts.split(';').find_map(|part| part.strip_suffix(what));
    before.and_then(|text| text.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// The number of seconds at the end of `…; finished in 1.20s`.
fn seconds(counts: &str) -> f64 {
    let time = counts.rsplit_once("finished in ").and_then(|(_, time)| time.strip_suffix('s'));
    time.and_then(|time| time.parse().ok()).unwrap_or(0.0)
}

/// Why the test of a line such as `test name ... ignored, reason` was ignored. A reason that shows only
/// when the test runs stands in parentheses.
fn ignored(line: &str) -> Option<&str> {
    let (_, reason) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = reason.strip_prefix(", ").or_else(|| reason.trim().strip_prefix('(')?.strip_suffix(')'));
    Some(reason.map_or("no reason given", str::trim))
}

/// Columns as wide as their widest cell, except the last; numbers to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let right = cell.parse::<u64>().is_ok();
            // Writing to a string cannot fail.
            let _ = if right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(output: &str) -> Suites {
        let names = [
            ("feature_core-0a1b", "feature-core unit"),
            ("conformance-77", "store-x conformance"),
            ("feature_core", "feature-core"),
        ];
        let mut suites = Suites::new(names.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
        output.lines().for_each(|line| suites.feed(line));
        suites.end();
        suites
    }

    #[test]
    fn counts_each_suite_and_says_why_tests_were_ignored() {
        let suites = suites(
            "\
     Running unittests src/lib.rs (target/debug/deps/feature_core-0a1b)
running 3 tests
test a::b ... ok
test a::c ... ignored, needs a disk
test a::d ... FAILED
     Running in circles (target/debug/deps/unheard-of)
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 4 filtered out; finished in 1.80s

     Running tests/conformance.rs (/elsewhere/debug/deps/conformance-77)
suite: redis | container fstore-redis:local
test get ... ignored, no server
test put   ... ignored (no server)
test scan ... ignored
test result: ok. 20 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.1s

   Doc-tests feature_core
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
",
        );
        assert_eq!(suites.totals(), Totals { passed: 24, failed: 1, ignored: 4 });
        assert_eq!(
            suites.table(),
            "\
suite                  backend  server                        passed  failed  ignored  seconds  why
feature-core unit      -        -                                  1       1        1        2  1: needs a disk
store-x conformance    redis    container fstore-redis:local      20       0        3        0  2: no server; 1: no reason given
feature-core doctests  -        -                                  3       0        0        0
"
        );
    }

    #[test]
    fn what_failed_is_told_again() {
        let suites = suites(
            "\
     Running unittests src/lib.rs (target/debug/deps/feature_core-0a1b)
test a::d ... FAILED

failures:

---- a::d stdout ----
left is not right

failures:
    a::d

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.80s
     Running tests/conformance.rs (target/debug/deps/conformance-77)
test result: ok. 20 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.1s
",
        );
        assert_eq!(
            suites.failures(),
            "FAILED feature-core unit\n\n---- a::d stdout ----\nleft is not right\n\n"
        );
    }

    #[test]
    fn a_program_may_run_the_suite_over_several_backends() {
        let suites = suites(
            "\
     Running tests/conformance.rs (target/debug/deps/conformance-77)
test a::get ... ok
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
suite: a | none needed
suite: b | none needed
suite: c | process redis-server 7.0.15
",
        );
        assert_eq!(
            suites.table(),
            "\
suite                backend  server                                    passed  failed  ignored  seconds  why
store-x conformance  a, b, c  none needed, process redis-server 7.0.15       2       0        0        0
"
        );
    }

    #[test]
    fn a_suite_that_ends_without_a_result_has_failed() {
        let suites =
            suites("  Running tests/conformance.rs (target/debug/deps/conformance-77)\ntest a ... ok\n");
        assert_eq!(suites.totals(), Totals { passed: 0, failed: 1, ignored: 0 });
        assert!(suites.table().contains("ended without a result"));
    }

    #[test]
    fn suites_without_tests_are_left_out_of_the_table() {
        let suites = suites(
            "  Doc-tests feature_core\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        assert_eq!(suites.table().lines().count(), 1);
    }
}
