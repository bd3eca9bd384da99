//! The schemes that are compiled in.

#[cfg(feature = "aerospike")]
mod aerospike;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
#[cfg(feature = "redis")]
mod redis;

use std::sync::Arc;

use feature_core::{Error, Result};

use crate::scheme::Scheme;

/// Every scheme that a cargo feature brings, with that feature.
const FEATURES: [(&str, &str); 6] = [
    ("embedded", "embedded"),
    ("aerospike", "aerospike"),
    ("redis", "redis"),
    ("rediss", "redis"),
    ("redis-cluster", "redis"),
    ("redis-sentinel", "redis"),
];

/// The schemes that are compiled in.
pub(crate) fn compiled() -> Vec<Arc<dyn Scheme>> {
    vec![
        #[cfg(feature = "embedded")]
        Arc::new(embedded::Embedded),
        #[cfg(feature = "aerospike")]
        Arc::new(aerospike::Aerospike),
        #[cfg(feature = "redis")]
        Arc::new(redis::Redis { name: "redis", example: "redis://localhost:6379" }),
        #[cfg(feature = "redis")]
        Arc::new(redis::Redis { name: "rediss", example: "rediss://user:password@host:6379" }),
        #[cfg(feature = "redis")]
        Arc::new(redis::Redis { name: "redis-cluster", example: "redis-cluster://host:6379,host2:6379" }),
        #[cfg(feature = "redis")]
        Arc::new(redis::Redis {
            name: "redis-sentinel",
            example: "redis-sentinel://host:26379,host2:26379?service_name=main",
        }),
    ]
}

/// The scheme of this name.
///
/// # Errors
/// `InvalidArgument`: there is none, and what there is; or which cargo feature brings it.
pub(crate) fn find<'a>(schemes: &'a [Arc<dyn Scheme>], name: &str) -> Result<&'a Arc<dyn Scheme>> {
    schemes.iter().find(|scheme| scheme.name() == name).ok_or_else(|| unknown(schemes, name))
}

fn unknown(schemes: &[Arc<dyn Scheme>], name: &str) -> Error {
    if let Some((_, feature)) = FEATURES.iter().find(|(scheme, _)| *scheme == name) {
        return Error::invalid_argument(format!(
            "`{name}:` stores are not compiled in: add the feature `{feature}` to the dependency feature-store"
        ));
    }
    let known: Vec<&str> = schemes.iter().map(|scheme| scheme.example()).collect();
    let known = if known.is_empty() {
        "none is compiled in: add a feature such as `embedded` to the dependency feature-store".to_owned()
    } else {
        format!("known are {}", known.join(", "))
    };
    Error::invalid_argument(format!("unknown store scheme `{name}`; {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_says_which_feature_brings_it() {
        for (scheme, feature) in FEATURES {
            let error = unknown(&[], scheme);
            assert!(error.message().contains(&format!("add the feature `{feature}`")), "{error}");
        }
        assert!(unknown(&[], "mongo").message().contains("none is compiled in"));
    }

    #[test]
    fn what_is_compiled_is_in_the_table_and_its_examples_are_right() {
        for scheme in compiled() {
            let name = scheme.name();
            assert!(FEATURES.iter().any(|(known, _)| *known == name), "{name}");
            let url = scheme.example().parse().unwrap();
            scheme.check(&url).unwrap();
            assert_eq!(url.scheme(), name);
        }
    }
}
