//! Who is let in.

use std::path::PathBuf;
use std::time::Duration;

use store_unified::{Field, Pattern};

use crate::auth::{KeyHash, Right, Rights, jwks_address};

/// What a principal may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name, in logs.
    pub name: String,
    /// The tenants whose data it may reach.
    pub tenants: Vec<Pattern>,
    /// What it may do with them.
    pub rights: Rights,
}

/// Who is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// Those who show a key.
    pub keys: Vec<KeyEntry>,
    /// Those who show a token; `None` is nobody.
    pub jwt: Option<JwtSettings>,
    /// Those who show a certificate.
    pub clients: Vec<ClientEntry>,
}

/// A key, of which only the hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// The SHA-256 of the key.
    pub hash: KeyHash,
    /// What it is good for.
    pub grant: Grant,
}

/// A client by the name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    /// A DNS name or URI among the certificate's alternative names.
    pub subject: String,
    /// What it is good for.
    pub grant: Grant,
}

/// Tokens that somebody else issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// Who must have issued a token (`iss`).
    pub issuer: String,
    /// Whom it must be for (`aud`).
    pub audience: String,
    /// The issuer's keys.
    pub jwks: JwksSource,
    /// The claim that lists patterns of tenants. Default `fstore_tenants`.
    pub tenants_claim: String,
    /// The claim that lists rights. Default `fstore_rights`.
    pub rights_claim: String,
    /// How far the issuer's clock may differ from ours. Default 30 s.
    pub leeway: Duration,
}

/// Where a set of keys is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// A file, which is read again when the settings are.
    File(PathBuf),
    /// A document at an address, which may change.
    Url {
        /// Where it is.
        url: String,
        /// How old it may be before it is fetched again. Default 5 min.
        refresh: Duration,
        /// Who signs for the server there, PEM; `None` is those who sign for this machine.
        authorities: Option<PathBuf>,
    },
}

pub(super) fn read(field: &Field<'_>) -> Option<AuthSettings> {
    let mut section = field.section()?;
    let keys = section.take("keys");
    let jwt = section.take("jwt");
    let clients = section.take("clients");
    if keys.is_none() && jwt.is_none() && clients.is_none() {
        field.fail("it lets nobody in: it needs keys, jwt or clients; without auth everybody is let in");
    }
    section.finish();
    let keys = keys.map(|field| entries(&field, key)).unwrap_or_default();
    let clients = clients.map(|field| entries(&field, client)).unwrap_or_default();
    let jwt = match jwt {
        Some(field) => Some(self::jwt(&field)?),
        None => None,
    };
    Some(AuthSettings { keys, jwt, clients })
}

/// The items of a list, each of which is told apart from those before it by what `read` says besides.
fn entries<T, K: PartialEq>(field: &Field<'_>, read: impl Fn(&Field<'_>) -> Option<(T, K)>) -> Vec<T> {
    let mut entries = Vec::new();
    let mut seen: Vec<(K, usize)> = Vec::new();
    for item in field.items() {
        let Some((entry, key)) = read(&item) else { continue };
        match seen.iter().find(|(earlier, _)| *earlier == key) {
            Some((_, line)) => item.fail(format!("it is there twice; the first is in line {line}")),
            None => seen.push((key, item.line())),
        }
        entries.push(entry);
    }
    entries
}

fn key(field: &Field<'_>) -> Option<(KeyEntry, KeyHash)> {
    let mut section = field.section()?;
    let name = section.need("name").and_then(|field| field.name().map(str::to_owned));
    let hash = section.need("sha256").and_then(|field| {
        let hash = KeyHash::from_hex(field.text()?);
        if hash.is_none() {
            field.fail("expected the SHA-256 of a key, 64 hexadecimal digits: `fstore key new` makes both");
        }
        hash
    });
    let grant = grant(section, name);
    let hash = hash?;
    Some((KeyEntry { hash, grant: grant? }, hash))
}

fn client(field: &Field<'_>) -> Option<(ClientEntry, String)> {
    let mut section = field.section()?;
    let subject = section.need("subject").and_then(|field| field.name().map(str::to_owned));
    let mut name = subject.clone();
    if let Some(field) = section.take("name") {
        name = field.name().map(str::to_owned);
    }
    let grant = grant(section, name);
    let subject = subject?;
    Some((ClientEntry { subject: subject.clone(), grant: grant? }, subject))
}

/// The rest of an entry: tenants and rights.
fn grant(mut section: store_unified::Section<'_>, name: Option<String>) -> Option<Grant> {
    let tenants = section.need("tenants").map(|field| {
        let patterns =
            |item: Field<'_>| item.parsed::<Pattern>("a name, the beginning of names as in `eu-*`, or `*`");
        let items = field.items();
        if items.is_empty() {
            field.fail("it names no tenant");
        }
        items.into_iter().filter_map(patterns).collect::<Vec<_>>()
    });
    let rights = section.need("rights").map(|field| {
        let items = field.items();
        if items.is_empty() {
            field.fail("it names no right");
        }
        items.iter().filter_map(right).collect::<Rights>()
    });
    section.finish();
    Some(Grant { name: name?, tenants: tenants?, rights: rights? })
}

fn right(field: &Field<'_>) -> Option<Right> {
    let name = field.text()?;
    let right = Right::ALL.into_iter().find(|right| right.name() == name);
    if right.is_none() {
        field.unknown("right", name, &Right::ALL.map(Right::name));
    }
    right
}

fn jwks(field: &Field<'_>, refresh: Duration, authorities: Option<PathBuf>) -> Option<JwksSource> {
    let text = field.name()?;
    if !text.contains("://") {
        return Some(JwksSource::File(text.into()));
    }
    match jwks_address(text) {
        Ok(_) => Some(JwksSource::Url { url: text.to_owned(), refresh, authorities }),
        Err(why) => {
            field.fail(why);
            None
        }
    }
}

fn jwt(field: &Field<'_>) -> Option<JwtSettings> {
    let mut section = field.section()?;
    let text = |field: Field<'_>| field.name().map(str::to_owned);
    let issuer = section.need("issuer").and_then(text);
    let audience = section.need("audience").and_then(text);
    let stated = section.need("jwks");
    let mut refresh = Duration::from_secs(300);
    let bounds = Duration::from_secs(1)..=Duration::from_secs(86_400);
    section.set("jwks_refresh", &mut refresh, |field| field.duration_within(bounds));
    let authorities = section.take("jwks_authorities").and_then(text).map(PathBuf::from);
    let jwks = stated.and_then(|field| jwks(&field, refresh, authorities));
    let (mut tenants_claim, mut rights_claim) = ("fstore_tenants".to_owned(), "fstore_rights".to_owned());
    section.set("tenants_claim", &mut tenants_claim, text);
    section.set("rights_claim", &mut rights_claim, text);
    let mut leeway = Duration::from_secs(30);
    let longest = Duration::from_secs(600);
    section.set("leeway", &mut leeway, |field| field.duration_within(Duration::ZERO..=longest));
    section.finish();
    Some(JwtSettings {
        issuer: issuer?,
        audience: audience?,
        jwks: jwks?,
        tenants_claim,
        rights_claim,
        leeway,
    })
}
