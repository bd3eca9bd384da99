//! Keys in the database: the prefix, then the record's canonical text.

use feature_core::{Error, RecordKey, Result, Scope};

/// The keys of records, one after the other: a text for each would cost more than writing it.
pub(crate) struct Keys {
    text: String,
    /// Where each key ends in `text`.
    ends: Vec<usize>,
}

impl Keys {
    pub(crate) fn encode<'a>(prefix: &str, keys: impl Iterator<Item = &'a RecordKey> + Clone) -> Self {
        let bytes = keys.clone().map(|key| prefix.len() + key.text_len()).sum();
        let mut text = String::with_capacity(bytes);
        let encode = |key: &RecordKey| {
            text.push_str(prefix);
            key.write_text(&mut text);
            text.len()
        };
        let ends = keys.map(encode).collect();
        Self { text, ends }
    }

    /// The key of this row.
    pub(crate) fn of(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[row]]
    }
}

/// The record that a key belongs to; `None` for another program's key.
pub(crate) fn decode(prefix: &str, key: &[u8]) -> Option<Result<RecordKey>> {
    let text = key.strip_prefix(prefix.as_bytes())?;
    let text = std::str::from_utf8(text).map_err(|_| {
        let text = text.escape_ascii();
        Error::corrupt(format!("`{text}` is not a key that this store has written: it is not UTF-8"))
    });
    Some(text.and_then(RecordKey::parse))
}

/// A pattern for `SCAN … MATCH` that every key of the scope fits, and few others.
pub(crate) fn pattern(prefix: &str, scope: &Scope) -> String {
    let mut pattern = String::new();
    for c in prefix.chars().chain(scope.prefix().chars()) {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use feature_core::{EntityKey, ViewKey};

    use super::*;

    #[test]
    fn keys_are_those_of_the_published_layout() {
        let view = ViewKey::new("acme-corp", "customer_features").unwrap();
        let key = RecordKey::new(view, EntityKey::new("customer_id", "cust-123").unwrap());
        let keys = [key.clone(), RecordKey::new(key.view().clone(), EntityKey::new("id", 7).unwrap())];
        let encoded = Keys::encode("feast:", keys.iter());
        assert_eq!(encoded.of(1), "feast:acme-corp:customer_features:id=7");
        let text = encoded.of(0);
        assert_eq!(text, "feast:acme-corp:customer_features:customer_id=cust-123");
        assert_eq!(decode("feast:", text.as_bytes()).unwrap().unwrap(), key);
        assert!(decode("other:", text.as_bytes()).is_none());
    }

    #[test]
    fn what_is_no_record_s_key_is_an_error() {
        for text in [&b"feast:"[..], b"feast:a:b", b"feast:a:b:c", b"feast:a:b:\xff=1", b"feast:a:b:c=1|a=2"]
        {
            assert!(decode("feast:", text).unwrap().is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_pattern_takes_names_literally() {
        let scope = Scope::view("a*[b]", "c?").unwrap();
        assert_eq!(pattern("x^:", &scope), r"x\^:a\*\[b\]:c\?:*");
    }
}
