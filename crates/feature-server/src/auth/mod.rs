//! Who asks, and what they may do.

mod fetch;
mod jwks;
mod jwt;
mod key;
mod rights;
mod throttle;

use std::fmt;
use std::sync::Arc;

use feature_core::{Clock, Result, SYSTEM_TENANT};
use store_unified::Pattern;

pub use key::{KeyHash, NewKey, new_key};
pub use rights::{Right, Rights};
pub(crate) use throttle::Throttle;

use crate::settings::{AuthSettings, Grant};
pub(crate) use fetch::address as jwks_address;
use jwt::{Rejected, Tokens};
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

    /// Whether it may reach every tenant that a pattern stands for.
    pub(crate) fn reaches(&self, tenants: &Pattern) -> bool {
        self.tenants.iter().any(|own| match (own, tenants) {
            (_, Pattern::Name(name)) => own.matches(name),
            (Pattern::Prefix(own), Pattern::Prefix(prefix)) => prefix.starts_with(own.as_str()),
            (Pattern::Name(_), Pattern::Prefix(_)) => false,
        })
    }

    /// Whether it has the right `admin` for every tenant: it may know how the server is run.
    pub(crate) fn runs_all(&self) -> bool {
        self.rights.contains(Right::Admin) && self.reaches(&Pattern::any())
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

/// What somebody shows of who they are, kept for requests that last: keys may be taken back.
pub(crate) struct Shown {
    token: Option<String>,
    certificate: Arc<[String]>,
}

impl Shown {
    pub(crate) fn of(token: Option<&str>, peer: Option<&crate::listen::Peer>) -> Self {
        let certificate = peer.map(|peer| Arc::clone(&peer.certificate)).unwrap_or_default();
        Self { token: token.map(str::to_owned), certificate }
    }

    pub(crate) fn credentials(&self) -> Credentials<'_> {
        Credentials { token: self.token.as_deref(), certificate: &self.certificate }
    }
}

/// Lets in those whom the settings name.
pub(crate) struct Authenticator {
    keys: Keys,
    tokens: Option<Tokens>,
    clients: Vec<(String, Arc<Principal>)>,
    anonymous: Option<Arc<Principal>>,
}

/// Nobody whom the settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stranger(Option<Rejected>);

impl Stranger {
    /// What to tell them.
    pub(crate) fn reason(self) -> &'static str {
        match self.0 {
            None | Some(Rejected::Invalid | Rejected::UnknownKey) => "the credentials are not accepted",
            Some(Rejected::Expired) => "the token is over or not yet begun: get a new one",
            Some(Rejected::Foreign) => "the token is by another issuer, or for another audience",
        }
    }
}

impl Authenticator {
    /// Lets everybody in where there are no settings.
    ///
    /// # Errors
    /// `InvalidArgument` when the keys of an issuer cannot be read.
    pub(crate) fn new(settings: Option<&AuthSettings>, clock: &Arc<dyn Clock>) -> Result<Self> {
        let Some(AuthSettings { keys, jwt, clients }) = settings else {
            let anonymous = Some(Arc::new(Principal::anonymous()));
            return Ok(Self { keys: Keys::default(), tokens: None, clients: Vec::new(), anonymous });
        };
        let principal = |grant: &Grant| Arc::new(Principal::from(grant));
        let tokens = jwt.as_ref().map(|jwt| Tokens::new(jwt.clone(), Arc::clone(clock))).transpose()?;
        let clients = clients.iter().map(|entry| (entry.subject.clone(), principal(&entry.grant)));
        Ok(Self {
            keys: Keys::new(keys.iter().map(|entry| (entry.hash, principal(&entry.grant)))),
            tokens,
            clients: clients.collect(),
            anonymous: None,
        })
    }

    /// Goes on with the keys of an issuer that another has.
    pub(crate) fn inherit(&mut self, other: &Self) {
        if let (Some(tokens), Some(others)) = (&mut self.tokens, &other.tokens) {
            tokens.inherit(others);
        }
    }

    /// Asks for the keys of the issuer, if they are old.
    pub(crate) async fn keep_fresh(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.published().keep_fresh().await;
        }
    }

    /// Who shows these credentials, where a key that is not known may be new. Others wait for it too.
    pub(crate) async fn authenticate_anew(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Arc<Principal>, Stranger> {
        match (self.authenticate(credentials), &self.tokens) {
            (Err(Stranger(Some(Rejected::UnknownKey))), Some(tokens)) if tokens.published().renew().await => {
                self.authenticate(credentials)
            }
            (found, _) => found,
        }
    }

    /// Who shows these credentials. A token counts more than a certificate.
    pub(crate) fn authenticate(&self, credentials: Credentials<'_>) -> Result<Arc<Principal>, Stranger> {
        if let Some(anonymous) = &self.anonymous {
            return Ok(Arc::clone(anonymous));
        }
        if let Some(token) = credentials.token {
            return match &self.tokens {
                // A key has no dots.
                Some(tokens) if token.contains('.') => {
                    tokens.principal(token).map(Arc::new).map_err(|why| Stranger(Some(why)))
                }
                _ => self.keys.find(token).map(Arc::clone).ok_or(Stranger(None)),
            };
        }
        let named = |(subject, _): &&(String, _)| credentials.certificate.iter().any(|own| own == subject);
        let client = self.clients.iter().find(named).map(|(_, principal)| Arc::clone(principal));
        client.ok_or(Stranger(None))
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
        for (tenants, reaches) in [
            ("acme", true),
            ("eu-1", true),
            ("eu-*", true),
            ("eu-1*", true),
            ("e*", false),
            ("*", false),
            ("acme*", false),
        ] {
            assert_eq!(principal.reaches(&tenants.parse().unwrap()), reaches, "{tenants}");
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
        let clock: Arc<dyn Clock> = Arc::new(feature_core::SystemClock);
        let known = Authenticator::new(Some(&settings), &clock).unwrap();
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
            assert_eq!(name(token), Err(Stranger(None)));
        }
        let nobody = Authenticator::new(Some(&AuthSettings::default()), &clock).unwrap();
        assert_eq!(nobody.authenticate(Credentials::default()).err(), Some(Stranger(None)));
        assert!(Authenticator::new(None, &clock).unwrap().authenticate(Credentials::default()).is_ok());
    }
}
