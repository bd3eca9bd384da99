//! Identity: entity keys, views, records, scopes, and their canonical texts.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::entity::EntityKey;
use crate::error::{Error, Result};
use crate::escape::{escape_into, unescape};

/// The tenant under which the software itself keeps things in a store, such as declared views. No data
/// belongs there.
pub const SYSTEM_TENANT: &str = "__fstore__";

/// What must not appear unescaped in a tenant's or view's name inside a key.
const NAME_SEPARATORS: &[u8] = b":{}";

/// A feature view of a tenant: where records live. Cheap to clone.
#[derive(Clone)]
pub struct ViewKey(Arc<ViewNames>);

struct ViewNames {
    tenant: String,
    view: String,
    /// `{tenant}:{view}:`, encoded.
    prefix: String,
}

impl ViewKey {
    /// The view of this name, of this tenant.
    ///
    /// # Errors
    /// `InvalidArgument` when a name is empty.
    pub fn new(tenant: &str, view: &str) -> Result<Self> {
        let mut prefix = tenant_prefix(tenant)?;
        if view.is_empty() {
            return Err(Error::invalid_argument(format!(
                "tenant `{tenant}`: the feature view has an empty name"
            )));
        }
        escape_into(&mut prefix, view, NAME_SEPARATORS);
        prefix.push(':');
        Ok(Self(Arc::new(ViewNames { tenant: tenant.to_owned(), view: view.to_owned(), prefix })))
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        &self.0.tenant
    }

    /// The feature view's name.
    pub fn view(&self) -> &str {
        &self.0.view
    }

    /// `{tenant}:{view}:`, encoded: what the keys of all records of the view, and of no other, begin with.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }
}

fn tenant_prefix(tenant: &str) -> Result<String> {
    if tenant.is_empty() {
        return Err(Error::invalid_argument("the tenant has an empty name"));
    }
    let mut prefix = String::with_capacity(48);
    escape_into(&mut prefix, tenant, NAME_SEPARATORS);
    prefix.push(':');
    Ok(prefix)
}

impl PartialEq for ViewKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.prefix == other.0.prefix
    }
}

impl Eq for ViewKey {}

impl Hash for ViewKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.prefix.hash(state);
    }
}

impl fmt::Display for ViewKey {
    /// `{tenant}:{view}`, encoded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.prefix.trim_end_matches(':'))
    }
}

impl fmt::Debug for ViewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identity of a record: tenant, feature view, entity. Cheap to clone.
///
/// ```
/// use feature_core::{EntityKey, RecordKey, ViewKey};
/// let view = ViewKey::new("acme-corp", "customer_features")?;
/// let key = RecordKey::new(view, EntityKey::new("customer_id", "cust-123")?);
/// assert_eq!(key.to_string(), "acme-corp:customer_features:customer_id=cust-123");
/// assert_eq!(RecordKey::parse(&key.to_string())?, key);
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RecordKey {
    view: ViewKey,
    entity: EntityKey,
}

impl RecordKey {
    /// The record of this entity in this view.
    pub fn new(view: ViewKey, entity: EntityKey) -> Self {
        Self { view, entity }
    }

    /// Reads the canonical text `{tenant}:{view}:{pairs}` back.
    ///
    /// # Errors
    /// `Corrupt` for text that no record's key encodes to.
    pub fn parse(text: &str) -> Result<Self> {
        let foreign =
            || Error::corrupt(format!("`{}` is not a key that this store has written", text.escape_debug()));
        let (tenant, rest) = text.split_once(':').ok_or_else(foreign)?;
        let (view, pairs) = rest.split_once(':').ok_or_else(foreign)?;
        let view = ViewKey::new(&unescape(tenant, NAME_SEPARATORS)?, &unescape(view, NAME_SEPARATORS)?)
            .map_err(|_| foreign())?;
        let entity = EntityKey::parse(pairs).map_err(|_| foreign())?;
        // Pairs out of order would be a second text for the same identity.
        if entity.canonical() == pairs { Ok(Self { view, entity }) } else { Err(foreign()) }
    }

    /// The feature view that the record belongs to.
    pub fn view(&self) -> &ViewKey {
        &self.view
    }

    /// The entity that the record describes.
    pub fn entity(&self) -> &EntityKey {
        &self.entity
    }

    /// Length in bytes of the canonical text.
    pub fn text_len(&self) -> usize {
        self.view.prefix().len() + self.entity.canonical().len()
    }

    /// Appends the canonical text, `{tenant}:{view}:{pairs}`, to `out`.
    pub fn write_text(&self, out: &mut String) {
        out.push_str(self.view.prefix());
        out.push_str(self.entity.canonical());
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.view.prefix())?;
        f.write_str(self.entity.canonical())
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which records a scan or a purge covers.
#[derive(Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every record of the store. Allowed for a scan, not for a purge through the handle.
    Store,
    /// Every record of the tenant of this name.
    Tenant(String),
    /// Every record of a feature view of a tenant.
    View(ViewKey),
}

impl Scope {
    /// Every record of a tenant.
    ///
    /// # Errors
    /// `InvalidArgument` when the name is empty.
    pub fn tenant(tenant: &str) -> Result<Self> {
        tenant_prefix(tenant).map(|_| Self::Tenant(tenant.to_owned()))
    }

    /// Every record of a feature view of a tenant.
    ///
    /// # Errors
    /// `InvalidArgument` when a name is empty.
    pub fn view(tenant: &str, view: &str) -> Result<Self> {
        ViewKey::new(tenant, view).map(Self::View)
    }

    /// What the canonical texts of all records of the scope, and of no other, begin with.
    pub fn prefix(&self) -> String {
        match self {
            Self::Store => String::new(),
            Self::Tenant(tenant) => {
                let mut prefix = String::with_capacity(tenant.len() + 1);
                escape_into(&mut prefix, tenant, NAME_SEPARATORS);
                prefix.push(':');
                prefix
            }
            Self::View(view) => view.prefix().to_owned(),
        }
    }

    /// Whether the record belongs to the scope.
    pub fn contains(&self, key: &RecordKey) -> bool {
        match self {
            Self::Store => true,
            Self::Tenant(tenant) => key.view.tenant() == tenant,
            Self::View(view) => key.view == *view,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the whole store"),
            Self::Tenant(_) => write!(f, "{}*", self.prefix()),
            Self::View(view) => write!(f, "{}*", view.prefix()),
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::EntityKeyBuilder;
    use proptest::prelude::*;

    fn key(tenant: &str, view: &str, pairs: &[(&str, &str)]) -> RecordKey {
        let entity = pairs.iter().fold(EntityKey::builder(), |b, (name, value)| b.with(name, *value));
        RecordKey::new(ViewKey::new(tenant, view).unwrap(), entity.build().unwrap())
    }

    #[test]
    fn golden() {
        for (key, text) in [
            (
                key("acme-corp", "customer_features", &[("customer_id", "cust-123")]),
                "acme-corp:customer_features:customer_id=cust-123",
            ),
            (key("t", "v", &[("customer_id", "7"), ("country", "DE")]), "t:v:country=DE|customer_id=7"),
            (key("a:b", "c{d}", &[("k=1", "x=|y:z")]), "a%3Ab:c%7Bd%7D:k%3D1=x=%7Cy:z"),
            (key("100%", "v\n", &[("k", "")]), "100%25:v%0A:k="),
        ] {
            let mut written = String::from(">");
            key.write_text(&mut written);
            assert_eq!((key.to_string(), format!("{key:?}")), (text.to_owned(), text.to_owned()));
            assert_eq!(written.strip_prefix('>'), Some(text));
            assert_eq!(RecordKey::parse(text).unwrap(), key);
            let view = key.view().to_string();
            assert_eq!(text.strip_prefix(&view).map(|rest| &rest[..1]), Some(":"));
            assert_eq!(format!("{:?}", key.view()), view);
            assert_eq!(key.text_len(), text.len());
        }
    }

    /// Else a map of views would be a list.
    #[test]
    fn views_have_hashes_of_their_own() {
        let hash = |view| {
            let mut hasher = std::hash::DefaultHasher::new();
            ViewKey::new("t", view).unwrap().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("b"));
    }

    #[test]
    fn integers_and_their_text_are_the_same_entity() {
        assert_eq!(EntityKey::new("id", 7).unwrap(), EntityKey::new("id", "7").unwrap());
        assert_eq!(EntityKey::new("id", i64::MIN).unwrap().value_of("id").unwrap(), i64::MIN.to_string());
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        assert!(EntityKey::builder().build().is_err());
        assert!(EntityKey::new("", "x").is_err());
        assert!(EntityKey::builder().with("a", 1).with("a", 2).build().is_err());
        assert!(ViewKey::new("", "v").is_err() && ViewKey::new("t", "").is_err());
        assert!(Scope::tenant("").is_err());
        for text in ["", "t", "t:v", "t:v:", "t:v:a", "t:v:b=1|a=2", "t:v:a=1|a=2", ":v:a=1", "t%:v:a=1"] {
            assert!(RecordKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_holds_its_own_records_alone() {
        let scope = Scope::view("team", "pay").unwrap();
        assert!(scope.contains(&key("team", "pay", &[("id", "1")])));
        for (tenant, view) in [("team", "pay2"), ("team:pay", "x"), ("tea", "m:pay"), ("team", "team_pay")] {
            let other = key(tenant, view, &[("id", "1")]);
            assert!(!scope.contains(&other) && !other.to_string().starts_with(&scope.prefix()), "{other}");
        }
        let (tenant, record) = (Scope::tenant("te:am").unwrap(), key("te:am", "pay", &[("id", "1")]));
        assert!(tenant.contains(&record) && !tenant.contains(&key("team", "pay", &[("id", "1")])));
        assert!(Scope::Store.contains(&record) && !scope.contains(&record));
    }

    #[test]
    fn a_scope_is_shown_by_what_its_records_begin_with() {
        for (scope, prefix, text) in [
            (Scope::Store, "", "the whole store"),
            (Scope::tenant("te:am").unwrap(), "te%3Aam:", "te%3Aam:*"),
            (Scope::view("team", "pay").unwrap(), "team:pay:", "team:pay:*"),
        ] {
            assert_eq!(scope.prefix(), prefix);
            assert_eq!((scope.to_string(), format!("{scope:?}")), (text.to_owned(), text.to_owned()));
        }
    }

    fn identities() -> impl Strategy<Value = (String, String, Vec<(String, String)>)> {
        // Few, mostly hostile characters, so that near-collisions are common.
        let name = || "[ab:|={}%_2\u{0}]{1,4}";
        let pairs = proptest::collection::btree_map(name(), "[ab:|={}%_2\u{0}]{0,4}", 1..3);
        (
            name().prop_map(String::from),
            name().prop_map(String::from),
            pairs.prop_map(|m| m.into_iter().collect()),
        )
    }

    proptest! {
        #[test]
        fn the_text_of_a_key_is_injective_and_reads_back(a in identities(), b in identities()) {
            let of = |(tenant, view, pairs): &(String, String, Vec<(String, String)>)| {
                let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                key(tenant, view, &pairs)
            };
            let (ka, kb) = (of(&a), of(&b));
            prop_assert_eq!(ka.to_string() == kb.to_string(), a == b);
            let back = RecordKey::parse(&ka.to_string()).unwrap();
            prop_assert_eq!(&back, &ka);
            prop_assert_eq!(back.view().tenant(), &a.0);
            prop_assert_eq!(back.view().view(), &a.1);
            let pairs: Vec<_> = back.entity().join_keys().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(pairs, a.2);
        }

        #[test]
        fn a_projection_is_the_key_of_its_join_keys(a in identities(), b in identities(), extra in any::<bool>()) {
            let key_of = |pairs: &[(String, String)]| {
                let each = |b: EntityKeyBuilder, (n, v): &(String, String)| b.with(n, v.as_str());
                pairs.iter().fold(EntityKey::builder(), each).build().ok()
            };
            let mut pairs = a.2.clone();
            pairs.extend(b.2.iter().filter(|(n, _)| a.2.iter().all(|(own, _)| own != n)).cloned());
            let whole = key_of(&pairs).unwrap();
            let mut names: Vec<&str> = a.2.iter().rev().map(|(n, _)| n.as_str()).collect();
            prop_assert_eq!(whole.project(&names), key_of(&a.2));
            if extra {
                names.push("none has it");
                prop_assert_eq!(whole.project(&names), None);
            }
            prop_assert_eq!(whole.project::<&str>(&[]), None);
        }

        #[test]
        fn any_text_is_a_key_or_an_error(text in ".*") {
            if let Ok(key) = RecordKey::parse(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
