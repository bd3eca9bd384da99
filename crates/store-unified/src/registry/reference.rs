//! How a feature is named across views.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use feature_core::{Error, Result, escape_into, unescape};
use serde::{Deserialize, Serialize};

/// What must not appear unescaped in a name inside a reference.
const SEPARATORS: &[u8] = b":*";

/// A feature of a view, or all features of a view.
///
/// As text it is `view:feature`, or `view:*` for all. `:` and `*` inside a name are written `%3A` and
/// `%2A`, `%` is written `%25`, control characters likewise: no two features have the same text, and each
/// text reads back.
///
/// ```
/// use store_unified::FeatureRef;
/// let orders: FeatureRef = "customers:orders".parse()?;
/// assert_eq!((orders.view(), orders.feature()), ("customers", Some("orders")));
/// assert_eq!("customers:*".parse::<FeatureRef>()?, FeatureRef::all("customers"));
/// assert_eq!(FeatureRef::new("eu:customers", "rate%").to_string(), "eu%3Acustomers:rate%25");
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeatureRef {
    view: String,
    /// `None` is all.
    feature: Option<String>,
}

impl FeatureRef {
    /// One feature of a view, both by their plain names.
    pub fn new(view: impl Into<String>, feature: impl Into<String>) -> Self {
        Self { view: view.into(), feature: Some(feature.into()) }
    }

    /// All features of a view, sorted by name.
    pub fn all(view: impl Into<String>) -> Self {
        Self { view: view.into(), feature: None }
    }

    /// The view's plain name.
    pub fn view(&self) -> &str {
        &self.view
    }

    /// The feature's plain name; `None` is all features of the view.
    pub fn feature(&self) -> Option<&str> {
        self.feature.as_deref()
    }
}

/// The name that is written like this, if one is.
fn plain(text: &str) -> Option<Cow<'_, str>> {
    unescape(text, SEPARATORS).ok().filter(|name| !name.is_empty())
}

impl FromStr for FeatureRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (view, feature) = text.split_once(':')?;
            let view = plain(view)?;
            Some(if feature == "*" { Self::all(view) } else { Self::new(view, plain(feature)?) })
        };
        parse().ok_or_else(|| {
            Error::invalid_argument(format!(
                "`{}` does not name a feature: expected view:feature, or view:* for all features of a view; \
                 inside a name `:` is written %3A, `*` %2A and `%` %25",
                text.escape_debug()
            ))
        })
    }
}

impl TryFrom<String> for FeatureRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<FeatureRef> for String {
    fn from(reference: FeatureRef) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(32);
        escape_into(&mut text, &self.view, SEPARATORS);
        text.push(':');
        match &self.feature {
            Some(feature) => escape_into(&mut text, feature, SEPARATORS),
            None => text.push('*'),
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_names_no_feature_is_refused() {
        for text in ["", "orders", ":", "v:", ":f", "v:a:b", "v:a*", "*:f", "v:100%", "v:%3a", "v:a\nb"] {
            let error = text.parse::<FeatureRef>().unwrap_err();
            assert!(error.message().contains("expected view:feature"), "{error}");
        }
    }

    fn name() -> impl Strategy<Value = String> {
        // Few, mostly hostile characters, so that near-collisions are common.
        "[ab:*%_é\u{0}]{1,4}"
    }

    fn reference() -> impl Strategy<Value = FeatureRef> {
        (name(), proptest::option::of(name())).prop_map(|(view, feature)| FeatureRef { view, feature })
    }

    proptest! {
        #[test]
        fn the_text_is_injective_and_reads_back(a in reference(), b in reference()) {
            prop_assert_eq!(a.to_string() == b.to_string(), a == b);
            prop_assert_eq!(a.to_string().parse::<FeatureRef>().unwrap(), a.clone());
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<FeatureRef>(&json).unwrap(), a);
        }

        #[test]
        fn any_text_is_a_reference_or_an_error(text in ".*|[ab:*%3A]{1,8}") {
            if let Ok(reference) = text.parse::<FeatureRef>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
