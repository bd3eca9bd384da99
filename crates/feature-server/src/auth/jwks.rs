//! The keys that an issuer publishes (RFC 7517): in a file, or at an address where they may change.
//!
//! Signatures are checked by the library that TLS is built on, so that there is one provider of cryptography.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use feature_core::{Error, Result};
use hyper::Uri;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fetch;
use crate::settings::JwksSource;

/// After what time keys that were asked for are asked for again, for a token with an unknown one or because it
/// failed.
const AGAIN: Duration = Duration::from_secs(10);

/// A key for signatures.
pub(super) struct Key {
    pub(super) id: Option<String>,
    public: Public,
}

enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// With the algorithm's name and the algorithm.
    Bytes(&'static str, &'static dyn VerificationAlgorithm, Vec<u8>),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Map<String, Value>>,
}

/// The keys of an issuer, as they are known.
pub(crate) struct Published {
    keys: ArcSwap<Vec<Key>>,
    remote: Option<Remote>,
}

/// Where keys are that may change.
struct Remote {
    address: Uri,
    every: Duration,
    authorities: Option<PathBuf>,
    /// When they were last asked for, and whether they came. Held while they are asked for.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Published {
    /// Reads keys that are in a file; others are not yet there.
    ///
    /// # Errors
    /// `InvalidArgument` when they cannot be read, or none can be used.
    pub(super) fn new(source: &JwksSource) -> Result<Self> {
        let wrong = |place: &dyn std::fmt::Display, why: &dyn std::fmt::Display| {
            Error::invalid_argument(format!("server.auth.jwt.jwks: {place}: {why}"))
        };
        match source {
            JwksSource::File(file) => {
                let text = fs::read(file).map_err(|error| wrong(&file.display(), &error))?;
                let keys = read(&text).map_err(|why| wrong(&file.display(), &why))?;
                Ok(Self { keys: ArcSwap::from_pointee(keys), remote: None })
            }
            JwksSource::Url { url, refresh, authorities } => {
                let address = fetch::address(url).map_err(|why| wrong(url, &why))?;
                let authorities = authorities.clone();
                let remote = Remote { address, every: *refresh, authorities, last: Mutex::default() };
                Ok(Self { keys: ArcSwap::default(), remote: Some(remote) })
            }
        }
    }

    pub(super) fn keys(&self) -> Guard<Arc<Vec<Key>>> {
        self.keys.load()
    }

    /// Whether the keys are at an address.
    pub(super) fn may_change(&self) -> bool {
        self.remote.is_some()
    }

    /// Asks for the keys again, if they were asked for some time ago: whether they are newer than they were
    /// before. Those from before are kept when no others come.
    pub(super) async fn renew(&self) -> bool {
        let Some(remote) = &self.remote else { return false };
        let asked = Instant::now();
        let mut last = remote.last.lock().await;
        match *last {
            // Somebody else has just asked.
            Some((at, came)) if at >= asked => return came,
            Some((at, _)) if at.elapsed() < AGAIN => return false,
            _ => {}
        }
        let keys = match fetch::get(&remote.address, remote.authorities.as_deref()).await {
            Ok(text) => read(&text),
            Err(why) => Err(why),
        };
        let came = keys.is_ok();
        *last = Some((Instant::now(), came));
        match keys {
            Ok(keys) => self.keys.store(Arc::new(keys)),
            Err(error) => {
                let kept = self.keys.load().len();
                tracing::error!(url = %remote.address, error, kept, "an issuer's keys cannot be had; those from before are used on");
            }
        }
        came
    }

    /// Asks for the keys again once they are old, or did not come.
    pub(super) async fn keep_fresh(&self) {
        let Some(remote) = &self.remote else { return };
        let is_due = match *remote.last.lock().await {
            None => true,
            Some((at, came)) => at.elapsed() >= if came { remote.every } else { AGAIN.min(remote.every) },
        };
        if is_due {
            self.renew().await;
        }
    }
}

/// The keys of a set.
fn read(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: KeySet = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let keys: Vec<Key> = set.keys.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err("it has no key for signatures by RSA, P-256, P-384 or Ed25519".to_owned());
    }
    Ok(keys)
}

/// A key of a set that can be used; others are left out, as the standard wants it.
fn key(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    if text("use").is_some_and(|own| own != "sig") {
        return None;
    }
    let point = || Some([vec![4], bytes("x")?, bytes("y")?].concat());
    let public = match (text("kty")?, text("crv")) {
        ("RSA", _) => Public::Rsa { n: bytes("n")?, e: bytes("e")? },
        ("EC", Some("P-256")) => Public::Bytes("ES256", &ECDSA_P256_SHA256_FIXED, point()?),
        ("EC", Some("P-384")) => Public::Bytes("ES384", &ECDSA_P384_SHA384_FIXED, point()?),
        ("OKP", Some("Ed25519")) => Public::Bytes("EdDSA", &ED25519, bytes("x")?),
        _ => return None,
    };
    Some(Key { id: text("kid").map(str::to_owned), public })
}

impl Key {
    /// Whether this key has made the signature, by an algorithm that is for such keys.
    pub(super) fn has_signed(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Bytes(own, verify, key) => {
                *own == algorithm && UnparsedPublicKey::new(*verify, key).verify(message, signature).is_ok()
            }
            Public::Rsa { n, e } => {
                let verify = match algorithm {
                    "RS256" => &RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &RSA_PSS_2048_8192_SHA256,
                    _ => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(verify, message, signature).is_ok()
            }
        }
    }
}
