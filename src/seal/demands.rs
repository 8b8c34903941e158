//! What the keys of a file must be, so that who writes the file doesn't choose the key that seals.

use super::{
    KeyFile, KeyRing, KeysProblem, WrappedKey,
    file::{Entry, Key},
};
use crate::types::{Fingerprint, SecretBytes};

/// What an operator demands of a key file. The settings that say so stand in another file, which others may write. The default
/// demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Whether each key has to be wrapped.
    pub wrapped: bool,
    /// The fingerprints of the keys that may be in the file. Empty: all may.
    pub fingerprints: Vec<Fingerprint>,
}

impl Demands {
    /// Checks what is to be seen in the file itself.
    ///
    /// # Errors
    /// Returns [`KeysProblem::Plain`].
    pub(super) fn check_file(&self, file: &KeyFile) -> Result<(), KeysProblem> {
        let is_plain = |entry: &&Entry| matches!(entry.key, Key::Plain(_));
        match file.entries().iter().find(is_plain) {
            Some(Entry { line, .. }) if self.wrapped => Err(KeysProblem::Plain(*line)),
            _ => Ok(()),
        }
    }

    /// Checks keys.
    ///
    /// # Errors
    /// Returns [`KeysProblem::Unlisted`].
    pub(super) fn check_ring(&self, ring: &KeyRing) -> Result<(), KeysProblem> {
        if self.fingerprints.is_empty() {
            return Ok(());
        }
        let mut found = ring.ids().map(crate::types::KeyId::print);
        match found.find(|found| !self.fingerprints.contains(found)) {
            Some(found) => Err(KeysProblem::Unlisted(found)),
            None => Ok(()),
        }
    }

    /// Returns the keys of a file, checked. `open` returns those that are wrapped.
    ///
    /// # Errors
    /// Returns the first [`KeysProblem`].
    pub(super) fn ring(
        &self,
        file: &KeyFile,
        open: impl FnMut(&WrappedKey) -> Option<SecretBytes>,
    ) -> Result<KeyRing, KeysProblem> {
        let ring = file.ring(open)?;
        self.check_ring(&ring)?;
        Ok(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{seal::MasterKey, types::KeyName};

    fn file(keys: &[&MasterKey]) -> KeyFile {
        let lines: Vec<_> = keys.iter().map(|key| key.line().to_vec()).collect();
        KeyFile::parse(&lines.concat()).unwrap()
    }

    #[test]
    fn keys_have_to_be_wrapped_and_listed_where_that_is_demanded() {
        let [a, b] = ["a", "b"].map(|name| {
            let name = KeyName::new(name).unwrap();
            MasterKey::generate(&name).unwrap()
        });
        let demands = |wrapped, keys: &[&MasterKey]| Demands {
            wrapped,
            fingerprints: keys.iter().map(|key| key.id().print()).collect(),
        };
        let both = file(&[&b, &a]);
        for (demands, found) in [
            (Demands::default(), Ok(())),
            (demands(false, &[&a, &b]), Ok(())),
            (
                demands(false, &[&a]),
                Err(KeysProblem::Unlisted(b.id().print())),
            ),
            // Not only the key that seals: the next one may be put in front at any time.
            (
                demands(false, &[&b]),
                Err(KeysProblem::Unlisted(a.id().print())),
            ),
        ] {
            assert_eq!(
                demands.ring(&both, |_| None).map(drop),
                found,
                "{demands:?}"
            );
        }
        assert_eq!(demands(false, &[]).check_file(&both), Ok(()));
        assert_eq!(
            demands(true, &[]).check_file(&both),
            Err(KeysProblem::Plain(1))
        );
        let mixed = [b"w test:1\n".to_vec(), a.line().to_vec()].concat();
        let mixed = KeyFile::parse(&mixed).unwrap();
        assert_eq!(
            demands(true, &[]).check_file(&mixed),
            Err(KeysProblem::Plain(2))
        );
        let wrapped = KeyFile::parse(b"w test:1").unwrap();
        assert_eq!(demands(true, &[]).check_file(&wrapped), Ok(()));
        let told = KeysProblem::Unlisted(b.id().print()).to_string();
        assert!(told.contains(b.id().fingerprint()), "{told}");
    }
}
