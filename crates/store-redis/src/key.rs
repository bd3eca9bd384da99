//! Keys in the database: the prefix, then the record's canonical text.

use feature_core::{Error, RecordKey, Result, Scope};

/// The key of a record.
pub(crate) fn encode(prefix: &str, key: &RecordKey) -> String {
    let mut text = String::with_capacity(prefix.len() + key.text_len());
    text.push_str(prefix);
    key.write_text(&mut text);
    text
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
        let text = encode("feast:", &key);
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
