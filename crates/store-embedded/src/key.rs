//! Keys: the canonical text of a record's key, and ranges of it.

use std::ops::Bound;

use feature_core::{Error, RecordKey, Result, Scope};

/// Reads a key of the table back.
pub(crate) fn parse(bytes: &[u8]) -> Result<RecordKey> {
    match std::str::from_utf8(bytes) {
        Ok(text) => RecordKey::parse(text),
        Err(_) => {
            let text = bytes.escape_ascii();
            Err(Error::corrupt(format!("`{text}` is not a key that this store has written")))
        }
    }
}

/// A range of keys, of which what has been passed is cut off.
#[derive(Clone, Debug)]
pub(crate) struct KeyRange {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
}

impl KeyRange {
    /// The keys of a scope, and no other.
    pub(crate) fn of(scope: &Scope) -> Self {
        let prefix = scope.prefix().into_bytes();
        let Some((_, stem)) = prefix.split_last() else {
            return Self { from: Bound::Unbounded, to: Bound::Unbounded };
        };
        // A prefix ends with `:`, so what follows its last key begins with the byte after that.
        let end = [stem, &[b':' + 1]].concat();
        Self { from: Bound::Included(prefix), to: Bound::Excluded(end) }
    }

    /// Leaves what comes after this key.
    pub(crate) fn pass(&mut self, key: Vec<u8>) {
        self.from = Bound::Excluded(key);
    }

    /// Leaves what comes before this key, and the key itself.
    pub(crate) fn end_with(&mut self, key: Vec<u8>) {
        self.to = Bound::Included(key);
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds;

    use feature_core::{EntityKey, ViewKey};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_has_the_keys_of_its_scope_and_no_other(
            (tenant, view, entity) in ("[a:;/%_]{1,3}", "[a:;/%_]{1,3}", "\\PC{0,3}"),
            (other_tenant, other_view) in ("[a:;/%_]{1,3}", "[a:;/%_]{1,3}"),
        ) {
            let entity = EntityKey::new("id", entity).unwrap();
            let key = RecordKey::new(ViewKey::new(&tenant, &view).unwrap(), entity);
            let text = key.to_string().into_bytes();
            for scope in [
                Scope::Store,
                Scope::tenant(&tenant).unwrap(),
                Scope::view(&tenant, &view).unwrap(),
                Scope::tenant(&other_tenant).unwrap(),
                Scope::view(&other_tenant, &other_view).unwrap(),
                Scope::view(&tenant, &other_view).unwrap(),
            ] {
                let range = KeyRange::of(&scope);
                let inside = RangeBounds::<[u8]>::contains(&range.bounds(), &text[..]);
                prop_assert_eq!(inside, scope.contains(&key), "{} in {}", key, scope);
            }
            prop_assert_eq!(parse(&text).unwrap(), key);
        }
    }

    #[test]
    fn a_range_is_cut_at_both_ends() {
        let mut range = KeyRange::of(&Scope::Store);
        range.pass(b"b".to_vec());
        range.end_with(b"d".to_vec());
        let inside = |key: &&[u8]| RangeBounds::<[u8]>::contains(&range.bounds(), *key);
        let keys = [b"a", b"b", b"c", b"d", b"e"].map(|key| &key[..]);
        assert_eq!(keys.into_iter().filter(inside).collect::<Vec<_>>(), [b"c", b"d"]);
    }

    #[test]
    fn foreign_keys_are_corrupt() {
        for bytes in [&b"no colons"[..], b"a:b:c", b"\xff\xfe", b""] {
            assert_eq!(parse(bytes).unwrap_err().kind(), feature_core::ErrorKind::Corrupt);
        }
    }
}
