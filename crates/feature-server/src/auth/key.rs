//! API keys: made at random, shown once, kept as a hash.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use feature_core::{Error, ErrorKind, Result, Secret};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

use super::Principal;

/// What every key begins with, so that a scanner for leaked secrets knows one when it sees it.
const PREFIX: &str = "fstore_";

/// The SHA-256 of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(hash)
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let bytes: Vec<u8> =
            digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
        (text.len() == 64).then_some(bytes)?.try_into().ok().map(Self)
    }

    /// Writes 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What keys are looked up by. That it takes longer to look up what is there tells nobody anything: of
    /// which key these are the first bytes of the hash cannot be found out from them.
    fn index(self) -> [u8; 8] {
        let mut index = [0; 8];
        index.copy_from_slice(&self.0[..8]);
        index
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// A key that was made just now.
#[derive(Debug)]
pub struct NewKey {
    /// The key, for whoever will use it, and for nobody else.
    pub key: Secret,
    /// What goes into the settings.
    pub hash: KeyHash,
}

/// Makes a key of 256 random bits.
///
/// # Errors
/// `Internal` where the system has no random numbers.
pub fn new_key() -> Result<NewKey> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::new(ErrorKind::Internal, "the system gives no random numbers"))?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = KeyHash::of(&key);
    Ok(NewKey { key: key.into(), hash })
}

/// Whose key is whose.
#[derive(Default)]
pub(super) struct Keys(HashMap<[u8; 8], Vec<(KeyHash, Arc<Principal>)>>);

impl Keys {
    pub(super) fn new(keys: impl IntoIterator<Item = (KeyHash, Arc<Principal>)>) -> Self {
        let mut all = Self::default();
        for (hash, principal) in keys {
            all.0.entry(hash.index()).or_default().push((hash, principal));
        }
        all
    }

    pub(super) fn find(&self, key: &str) -> Option<&Arc<Principal>> {
        let hash = KeyHash::of(key);
        let alike = self.0.get(&hash.index())?;
        alike.iter().find(|(own, _)| own.0.ct_eq(&hash.0).into()).map(|(_, principal)| principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_random_and_hashes_read_back() {
        let (first, second) = (new_key().unwrap(), new_key().unwrap());
        assert_ne!(first.key.expose(), second.key.expose());
        assert!(first.key.expose().starts_with(PREFIX) && first.key.expose().len() == PREFIX.len() + 43);
        assert_eq!(KeyHash::from_hex(&first.hash.to_hex()), Some(KeyHash::of(first.key.expose())));
        assert!(!format!("{first:?}").contains(first.key.expose()));
        assert_eq!(
            KeyHash::of("abc").to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66), &"é".repeat(32)] {
            assert_eq!(KeyHash::from_hex(text), None, "{text}");
        }
    }
}
