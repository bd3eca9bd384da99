//! What may become of a registry while models ask it and stores hold what was written under it.

use std::collections::BTreeSet;
use std::sync::Arc;

use feature_core::{Error, FeatureView, Result};

use super::{Inner, Registry, Service};

/// Whether a change goes through that contradicts what is stored or what models ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is refused.
    No,
    /// It goes through.
    Yes,
}

/// What makes stored records contradict the new declaration of a view: other entities, a feature that is
/// gone, a type that cannot hold every value of the old one (see
/// [`ValueType::widens_to`](feature_core::ValueType::widens_to)). Empty when nothing does.
pub fn view_contradictions(old: &FeatureView, new: &FeatureView) -> Vec<String> {
    let mut found = Vec::new();
    let sorted = |view: &FeatureView| view.entities.iter().cloned().collect::<BTreeSet<_>>();
    if sorted(old) != sorted(new) {
        let (old, new) = (old.entities.join(", "), new.entities.join(", "));
        found.push(format!("its entities were {old}, and would be {new}"));
    }
    for (name, old) in &old.features {
        match new.features.get(name) {
            None => found.push(format!("`{name}` would be removed")),
            Some(new) if !old.widens_to(*new) => {
                found.push(format!("`{name}` was {old}, and would be {new}"));
            }
            Some(_) => {}
        }
    }
    found
}

/// What a model that asks for a service would miss.
fn service_contradictions(old: &Service, new: &Service) -> Vec<String> {
    let mut found = Vec::new();
    for old in &old.plan.columns {
        match new.plan.columns.iter().find(|new| new.reference == old.reference) {
            None => found.push(format!("`{}` would be removed", old.reference)),
            Some(new) if new.name != old.name => found.push(format!(
                "`{}` was called `{}`, and would be called `{}`",
                old.reference, old.name, new.name
            )),
            Some(_) => {}
        }
    }
    found
}

impl Registry {
    /// The registry that follows this one: the views and services of `next`, whose own version does not
    /// matter. The version is one more than this one's, or the same where nothing has changed.
    ///
    /// Compatible are: another view, feature or service; another TTL, max age or description; a type that
    /// holds every value of the old one, as `int64` does for `int32`; a service with more features, or with
    /// the same in another order, as long as those it had keep their names in a result. Values that are
    /// stored under the narrower type are widened when a [`FeatureRequest`](crate::FeatureRequest) reads them.
    ///
    /// # Errors
    /// `InvalidArgument` with every change that is not compatible, unless it is forced.
    pub fn evolve(&self, next: &Self, force: Force) -> Result<Self> {
        if self.0.views == next.0.views && self.0.services == next.0.services {
            return Ok(self.clone());
        }
        let problems = self.contradictions(next);
        if force == Force::No && !problems.is_empty() {
            return Err(Error::invalid_argument(format!(
                "the registry stays at version {}, since stored records or models may contradict the change: \
                 {}. Declare another view or service, or force the change",
                self.version(),
                problems.join("; ")
            )));
        }
        Ok(Self(Arc::new(Inner {
            version: self.version() + 1,
            views: next.0.views.clone(),
            services: next.0.services.clone(),
        })))
    }

    fn contradictions(&self, next: &Self) -> Vec<String> {
        let views = self.views().map(|old| {
            let found = next.view(&old.name).map(|new| view_contradictions(old, new));
            ("view", &old.name, found)
        });
        let services = self.0.services.iter().map(|(name, old)| {
            let found = next.0.services.get(name).map(|new| service_contradictions(old, new));
            ("service", name, found)
        });
        views
            .chain(services)
            .filter_map(|(what, name, found)| match found {
                None => Some(format!("feature {what} `{name}` would be removed")),
                Some(found) if found.is_empty() => None,
                Some(found) => Some(format!("feature {what} `{name}`: {}", found.join("; "))),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use feature_core::ValueType;

    use super::*;

    const NOW: &str = "
feature_views:
- {name: v, entities: [a, b], features: {x: int32, y: string}, ttl: 1d}
- {name: w, entities: [a], features: {z: float32}}
feature_services:
- {name: s, features: ['v:x', 'w:*']}
- {name: t, features: ['v:y']}";

    fn after(changes: &[(&str, &str)], force: Force) -> Result<Registry> {
        let mut text = NOW.to_owned();
        for (old, new) in changes {
            assert!(text.contains(old), "{old}");
            text = text.replace(old, new);
        }
        Registry::from_yaml(NOW).unwrap().evolve(&Registry::from_yaml(&text).unwrap(), force)
    }

    #[test]
    fn only_what_stored_records_may_contradict_counts() {
        let view = |text: &str| {
            let text = format!("feature_views: [{text}]");
            FeatureView::from_yaml(&text).unwrap().remove(0)
        };
        let old = view("{name: v, entities: [a, b], features: {x: int64, y: string, n: int32}, ttl: 1d}");
        let wider = view(
            "{name: v, entities: [b, a], features: {x: int64, y: string, n: float64, z: bool}, ttl: 2d}",
        );
        assert_eq!(view_contradictions(&old, &wider), Vec::<String>::new());
        assert_eq!(
            view_contradictions(&old, &view("{name: v, entities: [a], features: {x: float64, n: int32}}")),
            [
                "its entities were a, b, and would be a",
                "`x` was int64, and would be float64",
                "`y` would be removed"
            ]
        );
    }

    #[test]
    fn compatible_changes_make_the_next_version() {
        for changes in [
            &[("y: string", "y: string, new: bool")][..],
            &[("x: int32", "x: int64")],
            &[("x: int32", "x: float64"), ("z: float32", "z: float64")],
            &[("ttl: 1d", "ttl: 2d, max_age: 1h, description: changed")],
            &[("entities: [a, b]", "entities: [b, a]")],
            &[("feature_services:", "- {name: u, entities: [c], features: {x: bool}}\nfeature_services:")],
            &[("- {name: t,", "- {name: u, features: ['w:z']}\n- {name: t, description: changed,")],
            &[("['v:x', 'w:*']", "['w:*', 'v:y', 'v:x']")],
            &[("z: float32", "z: float32, more: int32")],
        ] {
            let next = after(changes, Force::No).unwrap();
            assert_eq!(next.version(), 2, "{changes:?}");
            assert_eq!(next.evolve(&next, Force::No).unwrap().version(), 2);
        }
        assert_eq!(after(&[], Force::Yes).unwrap().version(), 1, "nothing has changed");
        let wider = after(&[("x: int32", "x: int64")], Force::No).unwrap();
        assert_eq!(wider.view("v").unwrap().features["x"], ValueType::Int64);
        let back = Registry::from_yaml(NOW).unwrap();
        assert_eq!(wider.evolve(&back, Force::Yes).unwrap().version(), 3, "whatever the next one's own is");
    }

    #[test]
    fn the_rest_is_refused_with_every_reason_unless_forced() {
        for (changes, reasons) in [
            (&[("x: int32", "x: string")][..], &["`v`: `x` was int32, and would be string"][..]),
            (
                &[("x: int32, y: string", "x: float32"), ("- {name: t, features: ['v:y']}", "")],
                &[
                    "`v`: `x` was int32, and would be float32; `y` would be removed",
                    "service `t` would be removed",
                ],
            ),
            (&[("entities: [a, b]", "entities: [a]")], &["its entities were a, b, and would be a"]),
            (
                &[("- {name: w, entities: [a], features: {z: float32}}", ""), ("['v:x', 'w:*']", "['v:x']")],
                &["feature view `w` would be removed", "service `s`: `w:z` would be removed"],
            ),
            // The new feature takes the old one's name away.
            (&[("z: float32", "z: float32, x: bool")], &["`v:x` was called `x`, and would be called `v__x`"]),
            (&[("['v:y']", "['v:x']")], &["feature service `t`: `v:y` would be removed"]),
        ] {
            let error = after(changes, Force::No).unwrap_err();
            for reason in reasons {
                assert!(error.message().contains(reason), "{error}");
            }
            assert_eq!(after(changes, Force::Yes).unwrap().version(), 2);
        }
    }
}
