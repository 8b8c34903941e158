//! Wraps the keys of a file again.

use super::{
    KeyFile, KeysFileProblem, Kms, NotUnwrapped,
    file::{Entry, Key},
};
use crate::types::SecretBytes;

impl KeyFile {
    /// Returns the text of a key file in which `kms` has wrapped every key with the latest version of its own, also those that
    /// were plain. The keys stay the same ones, and so do names, order and comments.
    ///
    /// # Errors
    /// Returns what is wrong with the text, or why a key can't be wrapped.
    pub async fn wrapped_again(text: &[u8], kms: &dyn Kms) -> Result<SecretBytes, KeysFileProblem> {
        let file = Self::parse(text)?;
        file.check(Some(kms))?;
        let lines = String::from_utf8_lossy(text);
        let mut lines: Vec<_> = lines.lines().map(str::to_owned).collect();
        for Entry { line, name, key } in file.entries() {
            let wrapped = match key {
                Key::Plain(key) => kms.encrypt(key.bytes()).await,
                Key::Wrapped(key) => kms.encrypt_again(key).await,
            };
            let wrapped = wrapped.map_err(|error| NotUnwrapped {
                name: name.clone(),
                error,
            })?;
            lines[line - 1] = wrapped.line(name);
        }
        Ok(SecretBytes::new((lines.join("\n") + "\n").into_bytes()))
    }
}
