//! An envelope: a payload that was sealed, as a text that JSON holds without escapes.
//!
//! # The form
//!
//! `1.<name of the key>.<its fingerprint>.<base64url of salt, ciphertext and tag>`. The fingerprint tells which key opens it:
//! 16 hexadecimal digits, which HKDF-SHA-256 derives from the key. The name is for people: a key that got another name still
//! opens what it sealed. Both are among the associated data, and so is the `1`, the number of this form.
//!
//! By its fingerprint, a key that isn't here is never taken for another one, also if both have the same name. Two keys at random
//! have the same one with a probability of 2^-64.
//!
//! # Why one nonce is enough
//!
//! AES-GCM fails if one key encrypts two messages under the same nonce. Here each envelope has a key of its own, which
//! HKDF-SHA-256 derives from the master key and a salt of 32 random bytes, drawn anew each time that something is sealed.
//! The nonce is zero, always. So what must not come twice is the salt. Among 2^48 envelopes (a billion a day, for 770
//! years) two salts are equal with a probability of 2^96 / 2^257 = 2^-161. Random nonces of 96 bits under a single key
//! would be at 2^-32, the limit of NIST SP 800-38D, after 2^32 envelopes, which is a matter of days.
//!
//! # How far a master key reaches
//!
//! - HMAC-SHA-256, with a master key of 256 random bits, is used once a seal, as a pseudo-random function. 2^48 uses
//!   are nowhere near what distinguishes it.
//! - An attacker who has 2^48 envelopes may guess at all derived keys at once. One guess is right with a probability of
//!   2^48 / 2^256 = 2^-208.
//! - A derived key encrypts one message of at most a few hundred KiB, far below GCM's 64 GiB. A forged envelope with
//!   associated data and payload of 2^15 blocks together is accepted with a probability of at most 2^15 / 2^128 = 2^-113
//!   an attempt. Attempts under other salts don't add up to more than that each.
//!
//! So nothing wears a master key out. Keys are changed because somebody may have seen them.
//!
//! GCM doesn't commit to its key: who has two master keys can make an envelope that opens under both. That is of no use
//! here, because the fingerprint in the envelope, and no trial, says which key opens it.

use std::{ops::Deref, sync::LazyLock};

use aws_lc_rs::rand;
use base64::{
    Engine,
    engine::{Simd, general_purpose::NO_PAD},
};

use super::{
    AssociatedData, MasterKey,
    key::{SALT, TAG},
};
use crate::types::{Envelope, KeyId, SecretBytes};

/// The number of this form.
const FORM: &str = "1";
/// What is wrong with what isn't an envelope.
pub(super) const NONE: &str = "it has no envelope of a form that is known";
/// What is wrong with an envelope that doesn't open.
pub(super) const CHANGED: &str =
    "its envelope doesn't open: it, or something that is readable beside it, was changed or moved";

/// How salt, ciphertext and tag are written: base64url without padding, by whatever the processor has for that.
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));

/// The parts of an envelope.
pub(super) struct Parts {
    /// Which key sealed it.
    pub key: KeyId,
    /// Salt, ciphertext and tag.
    bytes: SecretBytes,
}

/// Seals `payload`. `None` only if the library fails.
pub(super) fn seal(
    key: &MasterKey,
    payload: &[u8],
    associated: &AssociatedData,
) -> Option<Envelope> {
    let mut salt = [0; SALT];
    rand::fill(&mut salt).ok()?;
    // With room for the tag: a buffer that grows would leave the payload behind.
    let mut bytes = SecretBytes::with_capacity(SALT + payload.len() + TAG);
    bytes.extend_from_slice(&salt);
    bytes.extend_from_slice(payload);
    let (_, sealed) = bytes.split_at_mut(SALT);
    let tag = key.encrypt(&salt, &bound(associated, key.id()), sealed)?;
    bytes.extend_from_slice(&tag);
    let mut text = format!("{FORM}.{}.", key.id());
    BASE64.encode_string(&*bytes, &mut text);
    Some(Envelope::from_stored(text))
}

/// Returns the associated data together with what is readable of the envelope itself.
fn bound(associated: &AssociatedData, key: &KeyId) -> AssociatedData {
    AssociatedData::of("envelope")
        .text(FORM)
        .text(key.as_str())
        .bytes(associated.as_bytes())
}

impl Parts {
    /// Takes an envelope apart. `None` if it isn't one.
    pub(super) fn of(envelope: &Envelope) -> Option<Self> {
        let parts = envelope.as_str().strip_prefix(FORM)?.strip_prefix('.')?;
        // From the front: what comes behind the key is long.
        let (name, rest) = parts.split_once('.')?;
        let (fingerprint, text) = rest.split_once('.')?;
        let key = KeyId::parse(parts.get(..name.len() + 1 + fingerprint.len())?)?;
        let bytes = SecretBytes::new(BASE64.decode(text).ok()?);
        (bytes.len() >= SALT + TAG).then_some(Self { key, bytes })
    }

    /// Opens the envelope. `None` if it was sealed with another key or for other associated data, or was changed.
    pub(super) fn open(mut self, key: &MasterKey, associated: &AssociatedData) -> Option<Opened> {
        let bound = bound(associated, &self.key);
        let (salt, sealed) = self.bytes.split_first_chunk_mut::<SALT>()?;
        let length = key.decrypt(salt, &bound, sealed)?;
        self.bytes.truncate(SALT + length);
        Some(Opened(self.bytes))
    }
}

/// The payload of an envelope that was opened. It is wiped when it is dropped.
#[derive(Debug)]
pub struct Opened(
    /// Behind the salt, where it was decrypted: a copy would have to be wiped as well.
    SecretBytes,
);

impl Deref for Opened {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.get(SALT..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        seal::{KeyRing, NotOpened},
        types::KeyName,
    };

    fn key(name: &str) -> MasterKey {
        MasterKey::generate(&KeyName::new(name).unwrap()).unwrap()
    }

    #[test]
    fn an_envelope_opens_with_any_key_of_the_ring_and_no_other() {
        let (a, b) = (key("a"), key("b"));
        let associated = AssociatedData::of("test").text("here");
        let (id, line) = (
            a.id().clone(),
            String::from_utf8(a.line().to_vec()).unwrap(),
        );
        let old = KeyRing::of(vec![a.clone()]);
        let both = KeyRing::of(vec![b.clone(), a]);
        let new = KeyRing::of(vec![b]);
        let by_old = old.seal(b"payload", &associated).unwrap();
        assert_eq!(&*both.open(&by_old, &associated).unwrap(), b"payload");
        let by_new = both.seal(b"payload", &associated).unwrap();
        assert_eq!(&*new.open(&by_new, &associated).unwrap(), b"payload");
        let missing = new.open(&by_old, &associated).unwrap_err();
        assert_eq!(missing, NotOpened::KeyMissing(id.clone()));
        // Another key of the same name.
        let other = KeyRing::of(vec![key("a")]);
        let missing = other.open(&by_old, &associated).unwrap_err();
        assert_eq!(missing, NotOpened::KeyMissing(id));
        // The same key under another name.
        let renamed = KeyRing::parse(line.replacen('a', "z", 1).as_bytes()).unwrap();
        assert_eq!(&*renamed.open(&by_old, &associated).unwrap(), b"payload");
        assert!(KeyRing::default().seal(b"", &associated).is_none());
    }

    #[test]
    fn the_same_payload_is_never_sealed_alike() {
        let (ring, associated) = (KeyRing::of(vec![key("a")]), AssociatedData::of("test"));
        let seal = || ring.seal(b"payload", &associated).unwrap();
        let texts: std::collections::BTreeSet<_> =
            (0..100).map(|_| seal().as_str().to_owned()).collect();
        assert_eq!(texts.len(), 100);
        assert!(
            texts
                .iter()
                .all(|text| text.len() == texts.first().unwrap().len())
        );
    }

    #[test]
    fn a_form_that_is_not_known_is_damage() {
        let (ring, associated) = (KeyRing::of(vec![key("a")]), AssociatedData::of("test"));
        for text in [
            "",
            "1",
            "1.",
            "1.a",
            "1.a.",
            "1.a.AAAA",
            "1.a.0123456789abcdef",
            "1.a.0123456789abcdef.",
            "1.a.0123456789abcdef.AAAA",
            "1.a.0123456789abcde.AAAA",
            "2.a.0123456789abcdef.AAAA",
            ".a.",
            "1.ä.0123456789abcdef.AAAA",
        ] {
            let envelope = Envelope::from_stored(text.to_owned());
            let error = ring.open(&envelope, &associated).unwrap_err();
            assert_eq!(error, NotOpened::Damaged(NONE), "{text}");
        }
    }
}
