//! What a column of texts is, told from some of its cells.

use feature_core::ValueType;

use crate::options::Decimals;
use crate::text::{boolean, is_exact_float};
use crate::time::Timezone;

/// How many cells a note shows.
const EXAMPLES: usize = 3;
/// Of a column that is text because of fewer cells than one in so many, they are shown.
const FEW: u64 = 10;

/// Counts of what the cells looked at so far could be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guess {
    /// How many were no nulls.
    cells: u64,
    booleans: u64,
    integers: u64,
    /// Integers among them.
    numbers: Fitting,
    /// Numbers that a 64-bit float gives back.
    exact: Fitting,
    times: Fitting,
    /// Whether there is a digit in it, which tells numbers from `nan` and `inf`.
    any_digit: bool,
}

/// How many cells are of a kind, and some that are not.
#[derive(Clone, Debug, Default)]
struct Fitting {
    count: u64,
    others: Vec<String>,
}

impl Fitting {
    fn see(&mut self, fits: bool, cell: impl Fn() -> String) {
        if fits {
            self.count += 1;
        } else if self.others.len() < EXAMPLES {
            self.others.push(cell());
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        let room = EXAMPLES.saturating_sub(self.others.len());
        self.others.extend(other.others.iter().take(room).cloned());
    }
}

/// What a column was taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) value_type: ValueType,
    /// What a reader should know about it.
    pub(crate) note: Option<String>,
}

impl Guess {
    /// Looks at the cell of a row, which is not null.
    pub(crate) fn see(&mut self, row: u64, text: &str, zone: &Timezone) {
        self.cells += 1;
        let has_digit = text.bytes().any(|b| b.is_ascii_digit());
        self.any_digit |= has_digit;
        self.booleans += u64::from(boolean(text).is_some());
        let cell = || format!("`{}` in row {row}", text.chars().take(40).collect::<String>().escape_debug());
        // 007 is a code, not a number.
        let digits = text.trim_start_matches('-');
        let plain = !digits.starts_with('+')
            && (!digits.starts_with('0') || digits == "0" || digits.starts_with("0."));
        let integer = plain && text.parse::<i64>().is_ok();
        // An integer that int64 cannot hold is no measurement but an id.
        let fraction = text.contains(['.', 'e', 'E']);
        let number = integer || plain && text.parse::<f64>().is_ok();
        self.integers += u64::from(integer);
        self.numbers.see(number, cell);
        self.exact.see(integer || number && (!has_digit || fraction && is_exact_float(text)), cell);
        self.times.see(has_digit && !integer && zone.instant(text).is_ok(), cell);
    }

    /// Adds what was seen elsewhere.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.cells += other.cells;
        self.booleans += other.booleans;
        self.integers += other.integers;
        self.numbers.merge(&other.numbers);
        self.exact.merge(&other.exact);
        self.times.merge(&other.times);
        self.any_digit |= other.any_digit;
    }

    /// Whether all cells are numbers, so that they need a unit to be times.
    pub(crate) fn is_number(&self) -> bool {
        self.cells > 0 && self.numbers.count == self.cells && self.any_digit
    }

    /// The narrowest type that every cell has: bool, int64, float64, timestamp, else string.
    pub(crate) fn tell(&self, decimals: Decimals) -> Told {
        let plain = |value_type| Told { value_type, note: None };
        if self.cells == 0 {
            let note = Some("text, since none of the first rows has a value".to_owned());
            return Told { value_type: ValueType::String, note };
        }
        let all = |count: u64| count == self.cells;
        if all(self.booleans) {
            return plain(ValueType::Bool);
        }
        if all(self.integers) {
            return plain(ValueType::Int64);
        }
        let any_float = all(self.numbers.count) && self.any_digit;
        if any_float
            && (decimals == Decimals::Float64 || decimals == Decimals::Exact && all(self.exact.count))
        {
            return plain(ValueType::Float64);
        }
        if all(self.times.count) {
            return plain(ValueType::Timestamp);
        }
        let (kind, fitting) = match any_float {
            true => ("a number that int64 or float64 holds with all its digits", &self.exact),
            false if self.numbers.count >= self.times.count => ("a number", &self.numbers),
            false => ("a time", &self.times),
        };
        let others = self.cells - fitting.count;
        let few = any_float || others * FEW <= self.cells;
        let note = (few && decimals != Decimals::String).then(|| {
            format!(
                "text, since {others} of {} cells {} not {kind}: {}",
                self.cells,
                if others == 1 { "is" } else { "are" },
                fitting.others.join(", ")
            )
        });
        Told { value_type: ValueType::String, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(texts: &[&str]) -> Guess {
        let mut guess = Guess::default();
        for (row, text) in (1..).zip(texts) {
            guess.see(row, text, &Timezone::utc());
        }
        guess
    }

    #[test]
    fn the_narrowest_type_takes_every_text() {
        for (texts, told) in [
            (&["true", "False"][..], ValueType::Bool),
            (&["1", "-20", "0"], ValueType::Int64),
            (&["1", "2.5", "nan"], ValueType::Float64),
            (&["0.5", "1e9"], ValueType::Float64),
            (&["2013-01-01T05:00:00Z", "2013-01-01 05:00:00"], ValueType::Timestamp),
            (&["2013-01-01"], ValueType::Timestamp),
            (&["1", "x"], ValueType::String),
            (&["007", "12"], ValueType::String),
            (&["nan", "inf"], ValueType::String),
            (&["true", "1"], ValueType::String),
            (&["01/02/2024"], ValueType::String),
            (&[], ValueType::String),
            // Digits that a float would lose.
            (&["18446744073709551615"], ValueType::String),
            (&["0.12345678901234567890123"], ValueType::String),
        ] {
            assert_eq!(guess(texts).tell(Decimals::Exact).value_type, told, "{texts:?}");
        }
        let wide = guess(&["1.5", "18446744073709551615"]);
        assert_eq!(wide.tell(Decimals::Float64).value_type, ValueType::Float64);
        assert_eq!(wide.tell(Decimals::String).value_type, ValueType::String);
    }

    #[test]
    fn a_column_that_is_text_because_of_a_few_cells_says_which() {
        let mut texts = vec!["5"; 99];
        texts.insert(41, "n/k");
        let note = guess(&texts).tell(Decimals::Exact).note.unwrap();
        assert_eq!(note, "text, since 1 of 100 cells is not a number: `n/k` in row 42");
        let note = guess(&["1", "18446744073709551615"]).tell(Decimals::Exact).note.unwrap();
        assert!(
            note.contains("int64 or float64 holds with all its digits: `18446744073709551615` in row 2"),
            "{note}"
        );
        assert_eq!(guess(&["a", "b", "5"]).tell(Decimals::Exact).note, None);
    }
}
