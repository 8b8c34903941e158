//! What a key file holds: keys, plain or wrapped.

use std::collections::HashSet;

use super::{KeyRing, KeysProblem, Kms, MasterKey, WrappedKey};
use crate::types::{KeyName, SecretBytes};

/// The keys of a file, in their order.
#[derive(Clone, Debug)]
pub struct KeyFile(Vec<Entry>);

/// A line with a key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The number of the line. The first one is 1.
    pub line: usize,
    pub name: KeyName,
    pub key: Key,
}

/// A key as it stands in a file.
#[derive(Clone, Debug)]
pub(super) enum Key {
    Plain(MasterKey),
    Wrapped(WrappedKey),
}

impl KeyFile {
    /// Reads the text of a key file: a key a line, its name and then the key, in base64 or wrapped. Lines that are empty or
    /// begin with `#` don't count.
    ///
    /// # Errors
    /// Returns the first [`KeysProblem`].
    pub fn parse(text: &[u8]) -> Result<Self, KeysProblem> {
        let text = str::from_utf8(text).map_err(|_| KeysProblem::NoText)?;
        if text.starts_with('\u{feff}') {
            return Err(KeysProblem::ByteOrderMark);
        }
        let (mut entries, mut names) = (Vec::new(), HashSet::new());
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let mut words = text.split_ascii_whitespace();
            let (Some(name), Some(key), None) = (words.next(), words.next(), words.next()) else {
                return Err(KeysProblem::Line(line));
            };
            let name = KeyName::new(name).ok_or(KeysProblem::Name(line))?;
            if !names.insert(name.clone()) {
                return Err(KeysProblem::SameName(line));
            }
            let key = Key::parse(&name, key).ok_or(KeysProblem::Key(line))?;
            entries.push(Entry { line, name, key });
        }
        if entries.is_empty() {
            return Err(KeysProblem::Empty);
        }
        Ok(Self(entries))
    }

    /// Checks that `kms` may unwrap the keys that are wrapped.
    ///
    /// # Errors
    /// Returns the first [`KeysProblem`].
    pub(super) fn check(&self, kms: Option<&dyn Kms>) -> Result<(), KeysProblem> {
        for Entry { line, key, .. } in &self.0 {
            match (key, kms) {
                (Key::Wrapped(_), None) => return Err(KeysProblem::Wrapped(*line)),
                (Key::Wrapped(key), Some(kms)) if key.scheme() != kms.scheme() => {
                    return Err(KeysProblem::OtherKms(*line));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Whether this very wrapped key is in the file.
    pub(super) fn has(&self, wrapped: &WrappedKey) -> bool {
        let mut keys = self.0.iter().map(|entry| &entry.key);
        keys.any(|key| matches!(key, Key::Wrapped(key) if key == wrapped))
    }

    /// Whether a key is wrapped.
    pub(super) fn is_wrapped(&self) -> bool {
        let mut keys = self.0.iter().map(|entry| &entry.key);
        keys.any(|key| matches!(key, Key::Wrapped(_)))
    }

    /// Returns the keys. `open` returns those that are wrapped.
    ///
    /// # Errors
    /// Returns the first [`KeysProblem`].
    pub(super) fn ring(
        &self,
        mut open: impl FnMut(&WrappedKey) -> Option<SecretBytes>,
    ) -> Result<KeyRing, KeysProblem> {
        let mut keys = Vec::<MasterKey>::with_capacity(self.0.len());
        for Entry { line, name, key } in &self.0 {
            let key = match key {
                Key::Plain(key) => key.clone(),
                Key::Wrapped(wrapped) => {
                    let bytes = open(wrapped).ok_or(KeysProblem::Wrapped(*line))?;
                    MasterKey::new(name, bytes).ok_or(KeysProblem::Unwrapped(*line))?
                }
            };
            if keys.iter().any(|other| other.has_bytes_of(&key)) {
                return Err(KeysProblem::SameKey(*line));
            }
            keys.push(key);
        }
        Ok(KeyRing::of(keys))
    }

    /// Returns keys that open and seal nothing, because some are still wrapped.
    pub(super) fn locked(&self) -> KeyRing {
        let first = self.0.first().map(|entry| KeyRing::locked(&entry.name));
        first.unwrap_or_default()
    }
}

impl Key {
    fn parse(name: &KeyName, text: &str) -> Option<Self> {
        if text.contains(':') {
            return WrappedKey::new(text).map(Self::Wrapped);
        }
        MasterKey::new(name, SecretBytes::from_base64(text)?).map(Self::Plain)
    }
}
