//! Which record a wrongly named key reaches.

use std::hash::{DefaultHasher, Hash, Hasher};

use feature_core::RecordKey;

use super::Flaw;

/// What a store with this flaw takes for the key; `None` is the key itself.
pub(super) fn wrong_name(flaw: Flaw, key: &RecordKey) -> Option<String> {
    let (tenant, view, entity) = (key.view().tenant(), key.view().view(), key.entity());
    Some(match flaw {
        Flaw::JoinsNamesWithUnderscore => format!("{tenant}_{view}_{entity}"),
        Flaw::ForgetsToEscape => {
            let pairs: Vec<_> = entity.join_keys().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{tenant}:{view}:{}", pairs.join("|"))
        }
        Flaw::FoldsCase => key.to_string().to_lowercase(),
        Flaw::TrimsKeys => {
            let text = key.to_string();
            text.split("%00").next().unwrap_or_default().trim_end().to_owned()
        }
        Flaw::ForgetsTheView => format!("{tenant}:{entity}"),
        Flaw::CutsKeysAt255 => cut(&key.to_string(), 255),
        Flaw::CutsTenantsAt64 => format!("{}:{view}:{entity}", cut(tenant, 64)),
        Flaw::CutsViewsAt128 => format!("{tenant}:{}:{entity}", cut(view, 128)),
        Flaw::CutsEntitiesAt1024 => format!("{tenant}:{view}:{}", cut(&entity.to_string(), 1_024)),
        Flaw::HashesKeysTo32Bits => {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            (hasher.finish() as u32).to_string()
        }
        _ => return None,
    })
}

/// The text up to so many bytes.
fn cut(text: &str, bytes: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[..text.len().min(bytes)]).into_owned()
}
