//! Keys: the sets of views, and the keys of records in them.

use aerospike::{Key, Value};
use feature_core::{EntityKey, Error, RecordKey, Result, Scope, ViewKey, escape_into, unescape};
use twox_hash::XxHash3_128;

use crate::config::{AerospikeConfig, MAX_SET_BYTES, SetLayout};

/// Longest canonical text of a record's key, in bytes: it is stored with the record.
pub const MAX_KEY_BYTES: usize = 4 << 10;
/// What must not appear unescaped in a tenant's name: `_` ends it; `:` and `;` separate what the server says
/// about sets.
const TENANT_SEPARATORS: &[u8] = b":;{}_";
/// Likewise in a view's name, which nothing follows.
const VIEW_SEPARATORS: &[u8] = b":;{}";
/// Stands between the beginning of a name that is too long and its hash. No encoded name has it, since two
/// hex digits follow every `%` there.
const HASH_MARK: &str = "%%";
const HASH_DIGITS: usize = 32;
/// How many bytes of a name that is too long remain.
const HEAD_BYTES: usize = MAX_SET_BYTES - HASH_MARK.len() - HASH_DIGITS;

/// A set, and what the keys in it say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: String,
    holds: Holds,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Holds {
    /// Records of this view alone; keys name the entity.
    View(ViewKey),
    /// Records of several views, by accident or on purpose; keys are the canonical text of the record's.
    Several,
}

/// Makes the keys of records, and finds the sets of scopes.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    namespace: String,
    layout: SetLayout,
}

impl Keys {
    pub(crate) fn new(namespace: &str, layout: &SetLayout) -> Self {
        Self { namespace: namespace.to_owned(), layout: layout.clone() }
    }

    /// Makes the keys of records, one after the other.
    pub(crate) fn maker(&self) -> KeyMaker<'_> {
        KeyMaker { keys: self, last: None }
    }

    /// The set of a view.
    pub(crate) fn set(&self, view: &ViewKey) -> Set {
        if let SetLayout::Single(name) = &self.layout {
            return Set { name: name.clone(), holds: Holds::Several };
        }
        let mut name = tenant_prefix(view.tenant());
        escape_into(&mut name, view.view(), VIEW_SEPARATORS);
        if name.len() <= MAX_SET_BYTES {
            return Set { name, holds: Holds::View(view.clone()) };
        }
        // Names of equal hash would share the set, and no more than that: keys then name the view.
        let hash = XxHash3_128::oneshot(name.as_bytes());
        let end = (0..=HEAD_BYTES).rev().find(|end| name.is_char_boundary(*end));
        name.truncate(end.unwrap_or(0));
        Set { name: format!("{name}{HASH_MARK}{hash:032x}"), holds: Holds::Several }
    }

    /// Which of the sets of this name can have records of a scope, of all those that exist.
    pub(crate) fn sets<'a>(&self, scope: &Scope, existing: impl Iterator<Item = &'a str>) -> Vec<Set> {
        match (scope, &self.layout) {
            (Scope::View(view), _) => vec![self.set(view)],
            (_, SetLayout::Single(name)) => vec![Set { name: name.clone(), holds: Holds::Several }],
            (Scope::Store, _) => existing.filter_map(parse_set).collect(),
            (Scope::Tenant(tenant), _) => {
                let prefix = tenant_prefix(tenant);
                let belongs = |set: &Set| match &set.holds {
                    Holds::View(view) => view.tenant() == tenant,
                    // Where the head is too short for the tenant's name, the keys decide.
                    Holds::Several => {
                        let head = set.name.rsplit_once(HASH_MARK).map_or("", |(head, _)| head);
                        prefix.starts_with(head) || head.starts_with(&prefix)
                    }
                };
                existing.filter_map(parse_set).filter(belongs).collect()
            }
        }
    }
}

impl AerospikeConfig {
    /// The set of a record, and its key there: what `aql` shows, in the namespace of this configuration.
    pub fn set_and_key(&self, record: &RecordKey) -> (String, String) {
        let set = Keys::new(&self.namespace, &self.layout).set(record.view());
        let text = set.text(record);
        (set.name, text)
    }
}

/// Makes keys. Neighbours mostly share a view, whose set is made once.
#[derive(Debug)]
pub(crate) struct KeyMaker<'a> {
    keys: &'a Keys,
    last: Option<(ViewKey, Set)>,
}

impl KeyMaker<'_> {
    pub(crate) fn key(&mut self, record: &RecordKey) -> Result<Key> {
        let set = match &mut self.last {
            Some((view, set)) if view == record.view() => set,
            last => &mut last.insert((record.view().clone(), self.keys.set(record.view()))).1,
        };
        Key::new(self.keys.namespace.as_str(), set.name.as_str(), Value::String(set.text(record)))
            .map_err(|error| Error::invalid_argument(error.to_string()))
    }
}

impl Set {
    /// Whether it has records of one view alone, so that they need no look at their keys.
    pub(crate) fn is_of_one_view(&self) -> bool {
        matches!(self.holds, Holds::View(_))
    }

    /// The text of a record's key in this set.
    fn text(&self, record: &RecordKey) -> String {
        match self.holds {
            Holds::View(_) => record.entity().canonical().to_owned(),
            Holds::Several => record.to_string(),
        }
    }

    /// The record whose key in this set has this text.
    pub(crate) fn parse_key(&self, text: &str) -> Result<RecordKey> {
        let foreign =
            || Error::corrupt(format!("`{}` is not a key that this store has written", text.escape_debug()));
        match &self.holds {
            Holds::Several => RecordKey::parse(text),
            Holds::View(view) => match EntityKey::parse(text) {
                // Pairs out of order would be a second text for the same entity.
                Ok(entity) if entity.canonical() == text => Ok(RecordKey::new(view.clone(), entity)),
                _ => Err(foreign()),
            },
        }
    }
}

fn tenant_prefix(tenant: &str) -> String {
    let mut prefix = String::with_capacity(MAX_SET_BYTES);
    escape_into(&mut prefix, tenant, TENANT_SEPARATORS);
    prefix.push('_');
    prefix
}

/// The set of this name, unless no view has such a set.
fn parse_set(name: &str) -> Option<Set> {
    let holds = match name.rsplit_once(HASH_MARK) {
        Some((head, hash)) => {
            let is_hash = hash.len() == HASH_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit());
            (!head.is_empty() && is_hash).then_some(Holds::Several)?
        }
        None => {
            let (tenant, view) = name.split_once('_')?;
            let tenant = unescape(tenant, TENANT_SEPARATORS).ok()?;
            Holds::View(ViewKey::new(&tenant, &unescape(view, VIEW_SEPARATORS).ok()?).ok()?)
        }
    };
    Some(Set { name: name.to_owned(), holds })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::new("features", &SetLayout::PerView)
    }

    fn view(tenant: &str, view: &str) -> ViewKey {
        ViewKey::new(tenant, view).unwrap()
    }

    fn record(tenant: &str, name: &str, id: &str) -> RecordKey {
        RecordKey::new(view(tenant, name), EntityKey::new("customer_id", id).unwrap())
    }

    fn made(keys: &Keys, key: &RecordKey) -> (String, String) {
        let made = keys.maker().key(key).unwrap();
        let Some(Value::String(text)) = made.user_key() else { panic!("{made:?}") };
        (made.set_name().to_owned(), text.clone())
    }

    #[test]
    fn golden() {
        let long = "v".repeat(60);
        for (tenant, name, set, text) in [
            ("acme-corp", "customer_features", "acme-corp_customer_features", "customer_id=cust-123"),
            ("a_b", "c", "a%5Fb_c", "customer_id=cust-123"),
            ("a", "b_c", "a_b_c", "customer_id=cust-123"),
            ("a:b", "c;{d}%", "a%3Ab_c%3B%7Bd%7D%25", "customer_id=cust-123"),
            ("zürich", "東京", "zürich_東京", "customer_id=cust-123"),
            ("ab", &long, &format!("ab_{long}"), "customer_id=cust-123"),
            (
                "abc",
                &long,
                "abc_vvvvvvvvvvvvvvvvvvvvvvvvv%%62b2f5719a21593b301b634448ea9659",
                &format!("abc:{long}:customer_id=cust-123"),
            ),
        ] {
            let record = record(tenant, name, "cust-123");
            assert_eq!(made(&keys(), &record), (set.to_owned(), text.to_owned()));
            assert_eq!(AerospikeConfig::default().set_and_key(&record), (set.to_owned(), text.to_owned()));
            assert!(set.len() <= MAX_SET_BYTES);
        }
        let single = Keys::new("features", &SetLayout::Single("all".to_owned()));
        let (set, text) = made(&single, &record("acme", "v", "7"));
        assert_eq!((&*set, &*text), ("all", "acme:v:customer_id=7"));
    }

    #[test]
    fn neighbours_share_a_set_only_if_they_share_a_view() {
        let keys = keys();
        let mut maker = keys.maker();
        let sets: Vec<String> =
            [("t", "v", "1"), ("t", "v", "2"), ("t", "w", "3"), ("u", "w", "4"), ("t", "v", "5")]
                .map(|(tenant, view, id)| maker.key(&record(tenant, view, id)).unwrap().set_name().to_owned())
                .into();
        assert_eq!(sets, ["t_v", "t_v", "t_w", "u_w", "t_v"]);
        // It is not made again, either.
        let made = |maker: &KeyMaker<'_>| maker.last.as_ref().map(|(_, set)| set.name.as_ptr());
        let before = made(&maker);
        maker.key(&record("t", "v", "6")).unwrap();
        assert_eq!(made(&maker), before);
    }

    #[test]
    fn only_a_view_with_a_set_of_its_own_has_it_alone() {
        assert!(keys().set(&view("t", "v")).is_of_one_view());
        assert!(!keys().set(&view("t", &"v".repeat(70))).is_of_one_view());
        let single = Keys::new("features", &SetLayout::Single("all".to_owned()));
        assert!(!single.set(&view("t", "v")).is_of_one_view());
    }

    #[test]
    fn foreign_sets_and_keys_are_told_apart() {
        for name in
            ["", "plain", "_v", "t_", "a%_b", "a%%short", "a_b%%", "%%62b2f5719a21593b301b634448ea9659"]
        {
            assert_eq!(parse_set(name), None, "{name}");
        }
        let set = keys().set(&view("t", "v"));
        for text in ["", "7", "b=1|a=2", "a=%zz", "t:v:a=1|"] {
            assert_eq!(set.parse_key(text).unwrap_err().kind(), feature_core::ErrorKind::Corrupt, "{text}");
        }
    }

    fn names() -> impl Strategy<Value = String> {
        // Few, mostly hostile characters; long and short.
        prop_oneof!["[ab:;|={}%_2\u{0}é]{1,4}", "[ab_%é]{20,70}"]
    }

    proptest! {
        #[test]
        fn keys_are_injective_and_read_back(
            a in (names(), names(), "[ab:|={}%_]{0,4}"),
            b in (names(), names(), "[ab:|={}%_]{0,4}"),
            single in any::<bool>(),
        ) {
            let layout = if single { SetLayout::Single("s".to_owned()) } else { SetLayout::PerView };
            let keys = Keys::new("features", &layout);
            let (ra, rb) = (record(&a.0, &a.1, &a.2), record(&b.0, &b.1, &b.2));
            prop_assert_eq!(made(&keys, &ra) == made(&keys, &rb), a == b);
            let (name, text) = made(&keys, &ra);
            prop_assert!(name.len() <= MAX_SET_BYTES);
            let plain = !name.contains([':', ';', '\u{0}']);
            prop_assert!(plain);
            prop_assert_eq!(&keys.set(ra.view()).parse_key(&text).unwrap(), &ra);
            if !single {
                let set = parse_set(&name).unwrap();
                prop_assert_eq!(&set, &keys.set(ra.view()));
                let scope = Scope::tenant(&a.0).unwrap();
                prop_assert_eq!(keys.sets(&scope, [&*name].into_iter()), vec![set.clone()]);
                prop_assert_eq!(keys.sets(&Scope::Store, [&*name].into_iter()), vec![set.clone()]);
                let other = keys.sets(&Scope::tenant(&b.0).unwrap(), [&*name].into_iter());
                prop_assert!(a.0 == b.0 || !other.iter().any(Set::is_of_one_view));
            }
        }

        #[test]
        fn a_set_that_reads_as_a_view_is_that_view_s(name in "[ab:;{}%_25F]{1,63}") {
            if let Some(Set { holds: Holds::View(view), name }) = parse_set(&name) {
                prop_assert_eq!(keys().set(&view).name, name);
            }
        }
    }
}
