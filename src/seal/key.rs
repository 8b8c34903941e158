//! A key that seals.

use std::fmt;

use aws_lc_rs::{
    aead::{self, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::AssociatedData;
use crate::types::{KeyId, KeyName, Secret, SecretBytes};

/// How many random bytes the key of an envelope is derived with.
pub(super) const SALT: usize = 32;
/// How many bytes an envelope has more than what is in it, apart from its salt.
pub(super) const TAG: usize = 16;
/// What a derived key is for.
const INFO: &[u8] = b"token-broker envelope 1 AES-256-GCM";
/// What makes a fingerprint: nobody gets at the key, or at the key of an envelope, with it.
const FINGERPRINT_INFO: &[u8] = b"token-broker key fingerprint 1";

/// A master key, its name and its fingerprint. It encrypts nothing itself: the key of each envelope is derived from it. It is wiped when
/// it is dropped.
#[derive(Clone)]
pub struct MasterKey {
    id: KeyId,
    key: SecretBytes,
}

impl MasterKey {
    /// How many bytes a key has.
    pub const BYTES: usize = 32;

    /// Returns a new random key. `None` only if the system has no randomness.
    #[must_use]
    pub fn generate(name: &KeyName) -> Option<Self> {
        let mut key = SecretBytes::new(vec![0; Self::BYTES]);
        rand::fill(&mut key).ok()?;
        Self::new(name, key)
    }

    /// Returns the key with these bytes. Returns `None` if there are too few or too many.
    #[must_use]
    pub fn new(name: &KeyName, key: SecretBytes) -> Option<Self> {
        if key.len() != Self::BYTES {
            return None;
        }
        let id = KeyId::new(name, fingerprint(&key)?);
        Some(Self { id, key })
    }

    /// Returns the key's name and fingerprint.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Returns the key itself.
    pub(super) fn bytes(&self) -> &SecretBytes {
        &self.key
    }

    /// Returns the line of a key file with this key.
    #[must_use]
    pub fn line(&self) -> SecretBytes {
        let mut line = SecretBytes::with_capacity(KeyName::LONGEST + 64);
        line.extend_from_slice(self.id.name().as_bytes());
        line.push(b' ');
        if let Some(text) = Secret::new(STANDARD.encode(&*self.key)) {
            line.extend_from_slice(text.expose().as_bytes());
        }
        line.push(b'\n');
        line
    }

    /// Whether this is the same key, whatever its name.
    #[must_use]
    pub fn has_bytes_of(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.key, &other.key).is_ok()
    }

    /// Encrypts `payload` in place. Returns the tag, or `None` only if the library fails.
    pub(super) fn encrypt(
        &self,
        salt: &[u8; SALT],
        associated: &AssociatedData,
        payload: &mut [u8],
    ) -> Option<[u8; TAG]> {
        let aad = Aad::from(associated.as_bytes());
        let key = self.derived(salt)?;
        let sealed = key.seal_in_place_separate_tag(nonce(), aad, payload);
        sealed.ok()?.as_ref().try_into().ok()
    }

    /// Decrypts in place. Returns how many of the bytes are the payload, which comes first. `None` if the bytes or the associated
    /// data aren't those that were sealed.
    pub(super) fn decrypt(
        &self,
        salt: &[u8; SALT],
        associated: &AssociatedData,
        sealed: &mut [u8],
    ) -> Option<usize> {
        let aad = Aad::from(associated.as_bytes());
        let opened = self.derived(salt)?.open_in_place(nonce(), aad, sealed);
        Some(opened.ok()?.len())
    }

    fn derived(&self, salt: &[u8; SALT]) -> Option<LessSafeKey> {
        let prk = Salt::new(HKDF_SHA256, salt).extract(&self.key);
        let derived = prk.expand(&[INFO], &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

/// Returns the fingerprint of a key. `None` only if the library fails.
fn fingerprint(key: &SecretBytes) -> Option<[u8; KeyId::FINGERPRINT]> {
    let mut fingerprint = [0; KeyId::FINGERPRINT];
    let prk = Salt::new(HKDF_SHA256, &[]).extract(key);
    let derived = prk.expand(&[FINGERPRINT_INFO], FingerprintLength).ok()?;
    derived.fill(&mut fingerprint).ok()?;
    Some(fingerprint)
}

/// How long a fingerprint is, for the library.
struct FingerprintLength;

impl KeyType for FingerprintLength {
    fn len(&self) -> usize {
        KeyId::FINGERPRINT
    }
}

/// A derived key encrypts once, and so it needs only one nonce.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, ***)", self.id)
    }
}
