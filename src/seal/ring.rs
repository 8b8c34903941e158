//! The keys that a process has, and the file that they come from.

use std::fmt;

use super::{AssociatedData, KeyFile, MasterKey, Opened, envelope};
use crate::types::{Envelope, Fingerprint, KeyId, KeyName};

/// Keys in their order: the first one seals, and all open.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<MasterKey>,
    /// The key that will seal, while it is still wrapped, so that it has no fingerprint. Then nothing is sealed or opened.
    locked: Option<KeyId>,
}

/// What is wrong with the text of a key file. It quotes nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysProblem {
    /// There is no key in it.
    #[error("it has no key; `token-broker keys generate` makes one")]
    Empty,
    /// It isn't UTF-8.
    #[error("it is not UTF-8")]
    NoText,
    /// It begins with a byte order mark.
    #[error("it begins with a byte order mark: save it without one")]
    ByteOrderMark,
    /// A line doesn't consist of a name and a key.
    #[error("line {0} must be the key's name, a blank, and the key, in base64 or wrapped")]
    Line(usize),
    /// The name of a key isn't one.
    #[error("line {0}: a key's name is 1 to 64 letters, digits, - and _")]
    Name(usize),
    /// A key is neither 32 bytes in base64 nor wrapped.
    #[error(
        "line {0}: the key must be 32 bytes in base64, or a wrapped key, as `token-broker keys generate` prints it"
    )]
    Key(usize),
    /// A key is wrapped, and there is nobody to unwrap it.
    #[error(
        "line {0}: the key is wrapped: set vault-address and vault-key, so that Vault unwraps it"
    )]
    Wrapped(usize),
    /// A key was wrapped by another service than the one that is configured.
    #[error("line {0}: a wrapped key begins with vault: and no other service is known")]
    OtherKms(usize),
    /// What was unwrapped isn't a key.
    #[error("line {0}: what Vault unwrapped isn't a key of 32 bytes")]
    Unwrapped(usize),
    /// A key isn't wrapped, where each has to be.
    #[error(
        "line {0}: the key is not wrapped, and require-wrapped is set: `token-broker keys rewrap` wraps it"
    )]
    Plain(usize),
    /// A key has a fingerprint that isn't among those that keys may have.
    #[error(
        "a key has the fingerprint {0}, which seal-key-fingerprints doesn't list: if you made this key, add it there"
    )]
    Unlisted(Fingerprint),
    /// Two lines have the same name.
    #[error("line {0}: a line above has a key of this name; give the new key another one")]
    SameName(usize),
    /// Two lines have the same key.
    #[error("line {0}: a line above has this key under another name")]
    SameKey(usize),
}

/// Why an envelope doesn't open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// It was sealed with this key, which isn't among those that are here. One of the same name may be.
    KeyMissing(KeyId),
    /// It isn't an envelope, was sealed for something else, or was changed.
    Damaged(&'static str),
}

impl KeyRing {
    /// Reads the text of a key file none of whose keys is wrapped: a key a line, its name and then the key in base64. Lines
    /// that are empty or begin with `#` don't count.
    ///
    /// # Errors
    /// Returns the first [`KeysProblem`].
    pub fn parse(text: &[u8]) -> Result<Self, KeysProblem> {
        let file = KeyFile::parse(text)?;
        file.check(None)?;
        file.ring(|_| None)
    }

    /// Returns the keys in their order.
    #[must_use]
    pub fn of(keys: Vec<MasterKey>) -> Self {
        Self { keys, locked: None }
    }

    /// Returns keys that open and seal nothing, because the one that seals, which has this name, is still wrapped.
    pub(super) fn locked(sealing: &KeyName) -> Self {
        let unknown = [0; KeyId::FINGERPRINT];
        Self {
            keys: Vec::new(),
            locked: Some(KeyId::new(sealing, unknown)),
        }
    }

    /// Returns the key that seals. `None`: there is no key, and nothing is sealed.
    #[must_use]
    pub fn sealing(&self) -> Option<&KeyId> {
        self.locked
            .as_ref()
            .or(self.keys.first().map(MasterKey::id))
    }

    /// Returns which keys there are.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.iter().map(MasterKey::id)
    }

    /// Seals `payload` with the first key. Returns `None` if there is no key, or it is still wrapped.
    #[must_use]
    pub fn seal(&self, payload: &[u8], associated: &AssociatedData) -> Option<Envelope> {
        envelope::seal(self.keys.first()?, payload, associated)
    }

    /// Returns which key sealed an envelope, as it says itself: a key that is here by its name here. Returns `None` if it isn't
    /// an envelope.
    #[must_use]
    pub fn key_of(&self, envelope: &Envelope) -> Option<KeyId> {
        let parts = envelope::Parts::of(envelope)?;
        let here = self.find(&parts.key).map(|key| key.id().clone());
        Some(here.unwrap_or(parts.key))
    }

    /// Opens an envelope.
    ///
    /// # Errors
    /// Returns [`NotOpened`].
    pub fn open(
        &self,
        envelope: &Envelope,
        associated: &AssociatedData,
    ) -> Result<Opened, NotOpened> {
        let parts = envelope::Parts::of(envelope).ok_or(NotOpened::Damaged(envelope::NONE))?;
        match self.find(&parts.key) {
            Some(key) => parts
                .open(key, associated)
                .ok_or(NotOpened::Damaged(envelope::CHANGED)),
            None => Err(NotOpened::KeyMissing(parts.key)),
        }
    }

    fn find(&self, id: &KeyId) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.id().is_same_key(id))
    }
}

/// Names the keys with their fingerprints, the one that seals first.
impl fmt::Display for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.ids().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{id}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> String {
        let key = MasterKey::generate(&KeyName::new(name).unwrap()).unwrap();
        String::from_utf8(key.line().to_vec()).unwrap()
    }

    #[test]
    fn a_file_has_a_key_a_line() {
        let text = format!("# two keys\n\n{}  {}\r\n", line("new"), line("old").trim());
        let ring = KeyRing::parse(text.as_bytes()).unwrap();
        assert_eq!(ring.sealing().unwrap().name(), "new");
        let names: Vec<_> = ring.ids().map(KeyId::name).collect();
        assert_eq!(names, ["new", "old"]);
        let told: Vec<_> = ring.ids().map(KeyId::as_str).collect();
        assert_eq!(ring.to_string(), told.join(", "));
        assert!(!format!("{ring:?}").contains(&text[20..40]));
    }

    #[test]
    fn what_is_wrong_with_a_file_names_its_line() {
        let (a, b) = (line("a"), line("b"));
        let (_, key) = a.split_once(' ').unwrap();
        for (text, problem) in [
            (String::new(), KeysProblem::Empty),
            ("# nothing\n".to_owned(), KeysProblem::Empty),
            (format!("{b}a\n"), KeysProblem::Line(2)),
            (format!("a b {key}"), KeysProblem::Line(1)),
            (format!("ä {key}"), KeysProblem::Name(1)),
            (format!("{} {key}", "k".repeat(65)), KeysProblem::Name(1)),
            ("a AAAA".to_owned(), KeysProblem::Key(1)),
            (format!("a {}", &key[1..]), KeysProblem::Key(1)),
            (format!("{a}\n{}", line("a")), KeysProblem::SameName(3)),
            (format!("{a}c {key}"), KeysProblem::SameKey(2)),
        ] {
            let found = KeyRing::parse(text.as_bytes()).unwrap_err();
            assert_eq!(found, problem, "{text}");
            assert!(!found.to_string().contains(key.trim()));
        }
        assert_eq!(KeyRing::parse(b"\xff").unwrap_err(), KeysProblem::NoText);
        let marked = KeyRing::parse("\u{feff}a AAAA".as_bytes()).unwrap_err();
        assert_eq!(marked, KeysProblem::ByteOrderMark);
    }
}
