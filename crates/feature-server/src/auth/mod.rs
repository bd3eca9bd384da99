//! Who asks, and what they may do.

mod key;
mod rights;
mod throttle;

use std::fmt;
use std::sync::Arc;

use feature_core::SYSTEM_TENANT;
use store_unified::Pattern;

pub use key::{KeyHash, NewKey, new_key};
pub use rights::{Right, Rights};
pub(crate) use throttle::Throttle;

use crate::settings::{AuthSettings, Grant};
use key::Keys;

/// Somebody who was let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    name: String,
    tenants: Vec<Pattern>,
    rights: Rights,
}

impl Principal {
    /// Everybody, where nobody has to say who they are.
    fn anonymous() -> Self {
        Self { name: "anonymous".to_owned(), tenants: vec![Pattern::any()], rights: Rights::all() }
    }

    /// Somebody who did not have to say who they are, and may do nothing.
    pub(crate) fn nobody() -> Self {
        Self { name: "nobody".to_owned(), tenants: Vec::new(), rights: Rights::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may do this with the data of a tenant. What the software itself keeps is no tenant's.
    pub(crate) fn may(&self, right: Right, tenant: &str) -> bool {
        tenant != SYSTEM_TENANT
            && self.rights.contains(right)
            && self.tenants.iter().any(|pattern| pattern.matches(tenant))
    }

    /// The only tenant that it has.
    pub(crate) fn only_tenant(&self) -> Option<&str> {
        match &self.tenants[..] {
            [Pattern::Name(name)] => Some(name),
            _ => None,
        }
    }
}

impl From<&Grant> for Principal {
    fn from(grant: &Grant) -> Self {
        let Grant { name, tenants, rights } = grant.clone();
        Self { name, tenants, rights }
    }
}

/// What a request shows of who it is from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Credentials<'a> {
    /// What follows `Bearer` in the header `authorization`, or the header `x-api-key`.
    pub(crate) token: Option<&'a str>,
    /// The names in the certificate that the connection was opened with, which has been verified.
    pub(crate) certificate: &'a [String],
}

/// Lets in those whom the settings name.
pub(crate) struct Authenticator {
    keys: Keys,
    clients: Vec<(String, Arc<Principal>)>,
    anonymous: Option<Arc<Principal>>,
}

/// Nobody whom the settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stranger;

impl Stranger {
    /// What to tell them.
    pub(crate) fn reason(self) -> &'static str {
        "the credentials are not accepted"
    }
}

impl Authenticator {
    /// Lets everybody in where there are no settings.
    pub(crate) fn new(settings: Option<&AuthSettings>) -> Self {
        match settings {
            None => Self {
                keys: Keys::default(),
                clients: Vec::new(),
                anonymous: Some(Arc::new(Principal::anonymous())),
            },
            Some(AuthSettings { keys, clients, .. }) => Self {
                keys: Keys::new(keys.iter().map(|entry| (entry.hash, Arc::new((&entry.grant).into())))),
                clients: clients
                    .iter()
                    .map(|entry| (entry.subject.clone(), Arc::new((&entry.grant).into())))
                    .collect(),
                anonymous: None,
            },
        }
    }

    /// Who shows these credentials. A token counts more than a certificate.
    pub(crate) fn authenticate(&self, credentials: Credentials<'_>) -> Result<&Arc<Principal>, Stranger> {
        if let Some(anonymous) = &self.anonymous {
            return Ok(anonymous);
        }
        if let Some(token) = credentials.token {
            return self.keys.find(token).ok_or(Stranger);
        }
        let named = |(subject, _): &&(String, _)| credentials.certificate.iter().any(|own| own == subject);
        self.clients.iter().find(named).map(|(_, principal)| principal).ok_or(Stranger)
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KeyEntry;

    fn grant(name: &str, tenants: &[&str], rights: &[Right]) -> Grant {
        Grant {
            name: name.to_owned(),
            tenants: tenants.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            rights: rights.iter().copied().collect(),
        }
    }

    #[test]
    fn a_principal_may_what_its_grant_says_and_nothing_else() {
        let principal = Principal::from(&grant("p", &["acme", "eu-*"], &[Right::Read, Right::Write]));
        for (right, tenant, may) in [
            (Right::Read, "acme", true),
            (Right::Write, "eu-1", true),
            (Right::Admin, "acme", false),
            (Right::Read, "acme2", false),
            (Right::Read, "eu", false),
            (Right::Read, "", false),
        ] {
            assert_eq!(principal.may(right, tenant), may, "{right:?} {tenant}");
        }
        assert_eq!(principal.only_tenant(), None);
        assert_eq!(Principal::from(&grant("p", &["acme"], &[])).only_tenant(), Some("acme"));
        assert!(!Principal::anonymous().may(Right::Read, SYSTEM_TENANT));
    }

    #[test]
    fn only_the_very_key_lets_in() {
        let (first, second) = (new_key().unwrap(), new_key().unwrap());
        let entry = |key: &NewKey, name| KeyEntry { hash: key.hash, grant: grant(name, &["*"], &[]) };
        let settings =
            AuthSettings { keys: vec![entry(&first, "a"), entry(&second, "b")], ..Default::default() };
        let known = Authenticator::new(Some(&settings));
        let name = |token: Option<&str>| {
            let credentials = Credentials { token, certificate: &[] };
            known.authenticate(credentials).map(|principal| principal.name().to_owned())
        };
        assert_eq!(name(Some(first.key.expose())), Ok("a".to_owned()));
        assert_eq!(name(Some(second.key.expose())), Ok("b".to_owned()));
        let longer = format!("{}x", first.key.expose());
        for token in
            [None, Some(""), Some("a"), Some(&*longer), Some(&longer[1..]), Some(&*first.hash.to_hex())]
        {
            assert_eq!(name(token), Err(Stranger));
        }
        let nobody = Authenticator::new(Some(&AuthSettings::default()));
        assert_eq!(nobody.authenticate(Credentials::default()).err(), Some(Stranger));
        assert!(Authenticator::new(None).authenticate(Credentials::default()).is_ok());
    }
}
