//! Percent-encoding of names, so that different identities never share a key.
//!
//! `%`, control bytes and the separators of the place where a name is used become `%XX`, uppercase hex; every
//! other byte stays as it is. The encoding is injective, and [`unescape`] is its inverse.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// Appends `name` to `out`, with `%`, control bytes and the bytes of `separators` (ASCII) encoded.
pub fn escape_into(out: &mut String, name: &str, separators: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let special = |b: u8| b == b'%' || b < 0x20 || b == 0x7f || separators.contains(&b);
    let mut rest = name;
    // Special bytes are ASCII, so each cut falls on a character boundary.
    while let Some(at) = rest.bytes().position(special) {
        let byte = rest.as_bytes()[at];
        out.push_str(&rest[..at]);
        out.push('%');
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// The name that [`escape_into`] was given, when called with the same `separators`.
///
/// # Errors
/// `Corrupt` for text that no name encodes to: so decoding, too, is injective.
pub fn unescape<'a>(text: &'a str, separators: &[u8]) -> Result<Cow<'a, str>> {
    if !text.contains('%') && !text.bytes().any(|b| b < 0x20 || b == 0x7f || separators.contains(&b)) {
        return Ok(Cow::Borrowed(text));
    }
    let digit = |b: Option<&u8>| char::from(*b?).to_digit(16);
    let bytes = text.as_bytes();
    let mut name = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            name.push(byte);
            at += 1;
            continue;
        }
        let (Some(high), Some(low)) = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) else {
            return Err(not_a_name(text));
        };
        name.push((high * 16 + low) as u8);
        at += 3;
    }
    let name = String::from_utf8(name).map_err(|_| not_a_name(text))?;
    let mut again = String::with_capacity(text.len());
    escape_into(&mut again, &name, separators);
    if again == text { Ok(Cow::Owned(name)) } else { Err(not_a_name(text)) }
}

fn not_a_name(text: &str) -> Error {
    Error::corrupt(format!("`{}` is not a name that this store has encoded", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        for (name, text) in [
            ("acme-corp", "acme-corp"),
            ("", ""),
            ("a:b", "a%3Ab"),
            ("100%", "100%25"),
            ("a\u{0}\n\u{7f}", "a%00%0A%7F"),
            ("{slot}", "%7Bslot%7D"),
            ("zürich 東京", "zürich 東京"),
        ] {
            let mut out = String::new();
            escape_into(&mut out, name, b":{}");
            assert_eq!(out, text);
            assert_eq!(unescape(text, b":{}").unwrap(), name);
        }
    }

    #[test]
    fn a_name_that_is_written_as_it_is_is_no_copy() {
        assert!(matches!(unescape("a b~zürich", b":{}"), Ok(Cow::Borrowed("a b~zürich"))));
    }

    #[test]
    fn text_that_no_name_encodes_to_is_refused() {
        for text in ["%", "%4", "%4g", "%41", "%3a", "a:b", "a\nb", "a\u{1f}", "a\u{7f}", "%FF", "%é"] {
            assert!(unescape(text, b":{}").is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_name_reads_back(name in ".*", wild in "[%:{}a-f0-9A-F\u{0}-\u{20}é]*") {
            for name in [name, wild] {
                let mut out = String::new();
                escape_into(&mut out, &name, b":{}");
                let plain = !out.bytes().any(|b| b":{}".contains(&b));
                proptest::prop_assert!(plain);
                proptest::prop_assert_eq!(unescape(&out, b":{}").unwrap(), name);
            }
        }
    }
}
