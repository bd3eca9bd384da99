//! Tokens that somebody else issues (RFC 7519). Their times are judged by the server's clock.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use feature_core::{Clock, Result, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::jwks::{Key, Published};
use super::{Principal, Right};
use crate::settings::JwtSettings;

/// Longer than any that is issued; what is longer is not looked at.
const MAX_BYTES: usize = 16 << 10;

/// Verifies tokens.
pub(super) struct Tokens {
    settings: JwtSettings,
    published: Arc<Published>,
    clock: Arc<dyn Clock>,
}

/// Why a token is not accepted. Says nothing of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// It is no token, or its signature is not by a key of the issuer.
    Invalid,
    /// It names a key that is not among the issuer's, as far as they are known.
    UnknownKey,
    /// It is over, or not yet begun.
    Expired,
    /// Its issuer or its audience is another.
    Foreign,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What must be understood to accept the token; nothing is.
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<OneOrMore>,
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(texts) => texts,
        }
        .iter()
        // Rights and scopes may also be words of one text.
        .flat_map(|text| text.split_whitespace())
    }
}

impl Tokens {
    /// Reads the issuer's keys, if they are in a file.
    ///
    /// # Errors
    /// `InvalidArgument` when they cannot be read, or none can be used.
    pub(super) fn new(settings: JwtSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        let published = Arc::new(Published::new(&settings.jwks)?);
        Ok(Self { settings, published, clock })
    }

    /// The issuer's keys.
    pub(super) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Goes on with the keys that another has, if they are from the same place.
    pub(super) fn inherit(&mut self, other: &Self) {
        if self.settings.jwks == other.settings.jwks && self.published.may_change() {
            self.published = Arc::clone(&other.published);
        }
    }

    /// Who shows this token.
    pub(super) fn principal(&self, token: &str) -> Result<Principal, Rejected> {
        if token.len() > MAX_BYTES {
            return Err(Rejected::Invalid);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejected::Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejected::Invalid)?;
        let header: Header = part(header)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Rejected::Invalid)?;
        let keys = self.published.keys();
        let fits = |key: &&Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        let mut fitting = keys.iter().filter(fits).peekable();
        if header.crit.is_some() {
            return Err(Rejected::Invalid);
        }
        if fitting.peek().is_none() {
            return Err(Rejected::UnknownKey);
        }
        if !fitting.any(|key| key.has_signed(&header.alg, signed.as_bytes(), &signature)) {
            return Err(Rejected::Invalid);
        }
        self.accept(&part(claims)?)
    }

    fn accept(&self, claims: &Claims) -> Result<Principal, Rejected> {
        let JwtSettings { issuer, audience, tenants_claim, rights_claim, leeway, .. } = &self.settings;
        let is_ours = claims.aud.as_ref().is_some_and(|own| match own {
            OneOrMore::One(own) => own == audience,
            OneOrMore::More(own) => own.contains(audience),
        });
        if claims.iss.as_ref() != Some(issuer) || !is_ours {
            return Err(Rejected::Foreign);
        }
        let instant = |seconds: f64| Timestamp::from_micros((seconds * 1e6) as i64);
        let now = self.clock.now();
        let ends = claims.exp.map(instant).ok_or(Rejected::Invalid)?;
        let begins = claims.nbf.map(instant);
        if now.saturating_sub(*leeway) >= ends
            || begins.is_some_and(|begins| begins > now.saturating_add(*leeway))
        {
            return Err(Rejected::Expired);
        }
        let listed = |claim: &String| {
            claims.others.get(claim).and_then(|value| serde_json::from_value::<OneOrMore>(value.clone()).ok())
        };
        // A pattern or right that is not understood gives nothing.
        let (tenants, rights) = (listed(tenants_claim), listed(rights_claim));
        let tenants = tenants.iter().flat_map(OneOrMore::iter).filter_map(|text| text.parse().ok()).collect();
        let right = |name: &str| Right::ALL.into_iter().find(|right| right.name() == name);
        let rights = rights.iter().flat_map(OneOrMore::iter).filter_map(right).collect();
        let name = claims.sub.clone().unwrap_or_else(|| "token".to_owned());
        Ok(Principal { name: crate::calls::shown(&name), tenants, rights })
    }
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Rejected> {
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| Rejected::Invalid)?;
    serde_json::from_slice(&json).map_err(|_| Rejected::Invalid)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use feature_core::ManualClock;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::settings::JwksSource;

    struct Issuer {
        ec: EcdsaKeyPair,
        ed: Ed25519KeyPair,
        random: SystemRandom,
    }

    impl Issuer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let ec = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
            let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            Self {
                ec: EcdsaKeyPair::from_pkcs8(alg, ec.as_ref(), &random).unwrap(),
                ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
                random,
            }
        }

        fn jwks(&self) -> Value {
            let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let point = self.ec.public_key().as_ref();
            json!({ "keys": [
                { "kty": "oct", "k": "c2VjcmV0" },
                { "kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "x": encode(&point[1..33]), "y": encode(&point[33..]) },
                { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed.public_key().as_ref()) },
            ] })
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
            let signed = format!("{}.{}", encode(header), encode(claims));
            let signature = match header["alg"].as_str().unwrap() {
                "ES256" => self.ec.sign(&self.random, signed.as_bytes()).unwrap().as_ref().to_vec(),
                "EdDSA" => self.ed.sign(signed.as_bytes()).as_ref().to_vec(),
                _ => Vec::new(),
            };
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    fn tokens(jwks: &Value) -> (Tokens, ManualClock) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), jwks.to_string()).unwrap();
        let settings = JwtSettings {
            issuer: "https://issuer".to_owned(),
            audience: "fstore".to_owned(),
            jwks: JwksSource::File(file.path().into()),
            tenants_claim: "fstore_tenants".to_owned(),
            rights_claim: "fstore_rights".to_owned(),
            leeway: Duration::from_secs(30),
        };
        let clock = ManualClock::at(Timestamp::from_micros(1_000_000_000));
        (Tokens::new(settings, Arc::new(clock.clone())).unwrap(), clock)
    }

    fn claims() -> Value {
        json!({ "iss": "https://issuer", "aud": ["other", "fstore"], "sub": "model", "exp": 2000, "nbf": 900,
                "fstore_tenants": ["acme", "eu-*", "a*b"], "fstore_rights": "read admin fly" })
    }

    #[test]
    fn a_token_gives_what_its_claims_say() {
        let issuer = Issuer::new();
        let (tokens, clock) = tokens(&issuer.jwks());
        for header in [json!({ "alg": "ES256", "kid": "ec" }), json!({ "alg": "EdDSA" })] {
            let principal = tokens.principal(&issuer.sign(&header, &claims())).unwrap();
            assert_eq!(principal.name(), "model");
            assert!(principal.may(Right::Read, "acme") && principal.may(Right::Admin, "eu-1"));
            assert!(!principal.may(Right::Write, "acme") && !principal.may(Right::Read, "us-1"));
        }
        let token = issuer.sign(&json!({ "alg": "EdDSA" }), &claims());
        clock.set(Timestamp::from_micros(2_029_999_999));
        assert!(tokens.principal(&token).is_ok(), "within the leeway");
        clock.set(Timestamp::from_micros(2_030_000_000));
        assert_eq!(tokens.principal(&token).err(), Some(Rejected::Expired));
        clock.set(Timestamp::from_micros(869_000_000));
        assert_eq!(tokens.principal(&token).err(), Some(Rejected::Expired));
    }

    #[test]
    fn any_other_token_is_rejected() {
        let issuer = Issuer::new();
        let (tokens, _) = tokens(&issuer.jwks());
        let es256 = json!({ "alg": "ES256", "kid": "ec" });
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            claims
        };
        for (claims, why) in [
            (with("iss", json!("https://other")), Rejected::Foreign),
            (with("aud", json!("other")), Rejected::Foreign),
            (with("aud", json!("fstore other")), Rejected::Foreign),
            (with("aud", Value::Null), Rejected::Foreign),
            (with("exp", Value::Null), Rejected::Invalid),
            (with("exp", json!("soon")), Rejected::Invalid),
            (with("exp", json!(-1e300)), Rejected::Expired),
        ] {
            assert_eq!(tokens.principal(&issuer.sign(&es256, &claims)).err(), Some(why), "{claims}");
        }
        let good = issuer.sign(&es256, &claims());
        let stranger = Issuer::new().sign(&es256, &claims());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let other = issuer.sign(&es256, &with("sub", json!("root")));
        for token in [
            stranger,
            format!("{}.{signature}", other.rsplit_once('.').unwrap().0),
            format!("{signed}."),
            signed.to_owned(),
            "a.b.c".to_owned(),
            "..".to_owned(),
            "x".repeat(MAX_BYTES + 1),
            issuer.sign(&json!({ "alg": "none" }), &claims()),
            issuer.sign(&json!({ "alg": "HS256" }), &claims()),
            issuer.sign(&json!({ "alg": "ES256", "kid": "ed" }), &claims()),
            issuer.sign(&json!({ "alg": "ES256", "crit": ["b64"] }), &claims()),
        ] {
            assert_eq!(tokens.principal(&token).err(), Some(Rejected::Invalid), "{token}");
        }
    }
}
