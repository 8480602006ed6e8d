//! Encryption of credentials at rest, under the operator's keys.
//!
//! The store encrypts, not its callers: no secret reaches a file because a caller forgot to, and
//! stored credentials can be encrypted again under a new key.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use postbell_core::{StoreError, UserId};
use secrecy::{ExposeSecret, SecretString};
use tracing::{error, info};

/// Binds a ciphertext to its purpose; the user id is added to it.
const PURPOSE: &[u8] = b"postbell credentials v1\0";

/// The operator's keys. The first one encrypts, all of them decrypt.
pub struct KeyRing {
    current: Key,
    older: Vec<Key>,
}

struct Key {
    /// Identifies the key without revealing it.
    id: String,
    cipher: RandomizedNonceKey,
}

/// A ciphertext, and the id of its key.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) with: String,
    pub(crate) bytes: Vec<u8>,
}

/// Why a secret cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AtRestError {
    #[error("the store was opened without storage keys")]
    NoKeys,
    #[error("it is encrypted with a key that is not among the storage keys")]
    UnknownKey,
    #[error("it is not what was encrypted for this user")]
    Forged,
    #[error("it could not be encrypted")]
    NotSealed,
}

/// Encrypts and decrypts one kind of secret, if the store was opened with keys.
#[derive(Clone)]
pub(crate) struct Secrets {
    what: &'static str,
    keys: Option<Arc<KeyRing>>,
}

/// After how many secrets the progress is logged.
const PROGRESS: u64 = 10_000;

/// How many secrets were encrypted again, and how many cannot be.
pub(crate) struct Reencrypted {
    /// A plural.
    what: &'static str,
    /// How many older keys had encrypted at the beginning.
    old: u64,
    resealed: u64,
    lost: u64,
}

impl Secrets {
    /// `what` names the kind in errors.
    pub(crate) fn new(what: &'static str, keys: Option<Arc<KeyRing>>) -> Self {
        Self { what, keys }
    }

    pub(crate) fn encrypt(&self, user: &UserId, secret: &str) -> Result<Sealed, StoreError> {
        let sealed = self.keys().and_then(|keys| keys.encrypt(user, secret));
        sealed.map_err(|error| self.unreadable(error))
    }

    pub(crate) fn open(&self, user: &UserId, sealed: &Sealed) -> Result<String, StoreError> {
        let opened = self.keys().and_then(|keys| keys.open(user, sealed));
        opened.map_err(|error| self.unreadable(error))
    }

    fn keys(&self) -> Result<&KeyRing, AtRestError> {
        self.keys.as_deref().ok_or(AtRestError::NoKeys)
    }

    fn unreadable(&self, error: AtRestError) -> StoreError {
        StoreError::Corrupt {
            what: self.what,
            source: error.into(),
        }
    }
}

impl Reencrypted {
    /// Begins with the `old` secrets that older keys have encrypted. `what` names them, as a plural.
    pub(crate) fn begin(what: &'static str, old: u64) -> Self {
        info!(
            number = old,
            "Encrypting {what} again, with the first storage key"
        );
        Self {
            what,
            old,
            resealed: 0,
            lost: 0,
        }
    }

    /// Encrypts with the current key what an older one has encrypted; `None` if no key opens it.
    pub(crate) fn reencrypt(
        &mut self,
        keys: &KeyRing,
        user: &UserId,
        sealed: &Sealed,
    ) -> Option<Sealed> {
        let again = keys.open(user, sealed);
        match again.and_then(|secret| keys.encrypt(user, &secret)) {
            Ok(sealed) => {
                self.resealed += 1;
                Some(sealed)
            }
            Err(_) => {
                self.lost += 1;
                None
            }
        }
    }

    /// Logs how far it is after every ten thousandth secret, and returns whether it did: a million takes minutes, in which
    /// the process serves nothing. Called after a batch of at most so many.
    pub(crate) fn log_progress(&self, batch: usize) -> bool {
        let done = self.resealed + self.lost;
        let before = done.saturating_sub(batch as u64);
        let is_due = done / PROGRESS > before / PROGRESS;
        if is_due {
            info!(done, of = self.old, "Encrypting {} again", self.what);
        }
        is_due
    }

    /// Logs the numbers that are not zero.
    pub(crate) fn log(self) {
        let Self {
            what,
            resealed,
            lost,
            ..
        } = self;
        if resealed > 0 {
            info!(
                number = resealed,
                "Encrypted {what} with the first storage key"
            );
        }
        if lost > 0 {
            error!(
                number = lost,
                "There are {what} that none of the storage keys opens: restore the key in platform.storage_keys, or \
                 platform.gateway_secret if there are none; until then they are not sent to machines"
            );
        }
    }
}

impl KeyRing {
    /// Encrypts with a key made of `current`; decrypts with those made of `older`, too.
    #[must_use]
    pub fn new(current: &SecretString, older: &[SecretString]) -> Self {
        Self {
            current: Key::new(current),
            older: older.iter().map(Key::new).collect(),
        }
    }

    /// The id of the key that encrypts.
    pub(crate) fn current(&self) -> &str {
        &self.current.id
    }

    /// Whether it has the key with this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        let mut keys = std::iter::once(&self.current).chain(&self.older);
        keys.any(|key| key.id == id)
    }

    pub(crate) fn encrypt(&self, user: &UserId, secret: &str) -> Result<Sealed, AtRestError> {
        let mut encrypted = secret.as_bytes().to_vec();
        let cipher = &self.current.cipher;
        let nonce = cipher
            .seal_in_place_append_tag(purpose(user), &mut encrypted)
            .map_err(|_| AtRestError::NotSealed)?;
        let with = self.current.id.clone();
        let bytes = [nonce.as_ref(), &encrypted[..]].concat();
        Ok(Sealed { with, bytes })
    }

    pub(crate) fn open(&self, user: &UserId, sealed: &Sealed) -> Result<String, AtRestError> {
        let mut keys = std::iter::once(&self.current).chain(&self.older);
        let key = keys.find(|key| key.id == sealed.with);
        let key = key.ok_or(AtRestError::UnknownKey)?;
        let forged = |_| AtRestError::Forged;
        let (nonce, encrypted) = sealed
            .bytes
            .split_at_checked(NONCE_LEN)
            .ok_or(AtRestError::Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(forged)?;
        let mut encrypted = encrypted.to_vec();
        let secret = key
            .cipher
            .open_in_place(nonce, purpose(user), &mut encrypted)
            .map_err(forged)?;
        String::from_utf8(secret.to_vec()).map_err(|_| AtRestError::Forged)
    }
}

impl Key {
    /// A secret may be any text, so the key is made of it with a function that hides it.
    fn new(secret: &SecretString) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let id = hmac::sign(&secret, b"postbell storage key id");
        let key = hmac::sign(&secret, b"postbell storage key");
        #[expect(
            clippy::expect_used,
            reason = "a tag of SHA-256 has the 32 bytes of a key"
        )]
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).expect("a key's length");
        Self {
            id: hex::encode(&id.as_ref()[..8]),
            cipher,
        }
    }
}

fn purpose(user: &UserId) -> Aad<Vec<u8>> {
    Aad::from([PURPOSE, user.as_str().as_bytes()].concat())
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn ring(current: &str, older: &[&str]) -> KeyRing {
        let older: Vec<_> = older.iter().map(|key| SecretString::from(*key)).collect();
        KeyRing::new(&current.into(), &older)
    }

    #[test]
    fn what_was_sealed_is_opened_by_every_ring_that_has_the_key() {
        let sealed = ring("old", &[]).encrypt(&user("ann"), "hunter2").unwrap();
        for ring in [ring("old", &[]), ring("new", &["older", "old"])] {
            assert_eq!(ring.open(&user("ann"), &sealed).as_deref(), Ok("hunter2"));
        }
        let opened = ring("new", &["older"]).open(&user("ann"), &sealed);
        assert_eq!(opened, Err(AtRestError::UnknownKey));
    }

    #[test]
    fn what_was_sealed_for_one_user_is_worthless_for_another() {
        let ring = ring("key", &[]);
        let sealed = ring.encrypt(&user("ann"), "hunter2").unwrap();
        assert_eq!(ring.open(&user("bob"), &sealed), Err(AtRestError::Forged));
    }

    #[test]
    fn every_ten_thousandth_secret_is_logged_while_they_are_encrypted_again() {
        let sealed = ring("old", &[]).encrypt(&user("ann"), "hunter2").unwrap();
        let keys = ring("new", &["old"]);
        let mut again = Reencrypted::begin("credentials", 25_000);
        let logged = (0..250).filter(|_| {
            for _ in 0..100 {
                again.reencrypt(&keys, &user("ann"), &sealed).unwrap();
            }
            again.log_progress(100)
        });
        assert_eq!(logged.collect::<Vec<_>>(), [99, 199]);
    }

    #[test]
    fn what_was_changed_is_not_opened() {
        let ring = ring("key", &[]);
        let sealed = ring.encrypt(&user("ann"), "hunter2").unwrap();
        assert!(!sealed.bytes.windows(7).any(|part| part == b"hunter2"));
        for place in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[place] ^= 1;
            assert_eq!(ring.open(&user("ann"), &changed), Err(AtRestError::Forged));
        }
        let mut short = sealed;
        short.bytes.truncate(NONCE_LEN - 1);
        assert_eq!(ring.open(&user("ann"), &short), Err(AtRestError::Forged));
    }

    #[test]
    fn the_same_secret_is_never_sealed_the_same_way() {
        let ring = ring("key", &[]);
        let [one, other] = [0, 1].map(|_| ring.encrypt(&user("ann"), "hunter2").unwrap().bytes);
        assert_ne!(one, other);
        assert_eq!(format!("{ring:?}"), "KeyRing");
    }
}
