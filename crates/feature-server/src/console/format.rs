//! How things are written for people.

use std::time::Duration;

use feature_core::FeatureValue;

/// So much of a value is shown in a table.
const VALUE_CHARS: usize = 160;

/// A duration in its two largest units, cut off: `3 d 4 h`.
pub(super) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| seconds >= *size) else {
        return format!("{} ms", duration.as_millis());
    };
    let (unit, size) = units[first];
    let whole = format!("{} {unit}", seconds / size);
    match units.get(first + 1).map(|(unit, smaller)| (unit, seconds % size / smaller)) {
        Some((unit, rest)) if rest > 0 => format!("{whole} {rest} {unit}"),
        _ => whole,
    }
}

/// A value as JSON, and how many characters there are besides those shown.
pub(super) fn value(value: &FeatureValue) -> (String, usize) {
    let mut text = Vec::new();
    value.write_json(&mut text);
    let text = String::from_utf8_lossy(&text);
    let shown: String = text.chars().take(VALUE_CHARS).collect();
    let more = text.chars().count() - shown.chars().count();
    (shown, more)
}

/// A number of bytes.
pub(super) fn bytes(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// A part of an address: `a=1&b=2`, without the fields that are empty.
pub(super) fn query(fields: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(fields.iter().filter(|(_, value)| !value.is_empty()));
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_in_two_units() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h"),
            (90_061_000, "1 d 1 h"),
            (2_592_000_000, "30 d"),
        ] {
            assert_eq!(age(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn of_a_long_value_only_the_beginning_is_shown() {
        assert_eq!(value(&FeatureValue::from("a\"b")), ("\"a\\\"b\"".to_owned(), 0));
        let (shown, more) = value(&FeatureValue::from("é".repeat(1_000)));
        assert_eq!((shown.chars().count(), more), (VALUE_CHARS, 842));
    }
}
