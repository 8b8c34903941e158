//! Wraps the keys of a file again.

use super::{
    KeyFile, KeysFileProblem, KeysProblem, Kms, KmsError, MasterKey, NotUnwrapped, WrappedKey,
    comment::Known,
    file::{Entry, Key},
};
use crate::types::SecretBytes;

/// What stands in the place of a comment that was left out.
const LEFT_OUT: &str = "# (A comment that may hold a key, or a part of one, was left out here.)";

/// Whether it is proved that what was wrapped again is the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The service unwraps each key as it was and as it is, and both have to be the same.
    Unwraps,
    /// It doesn't unwrap, because who asks may not have that done. What it answers is believed.
    None,
}

/// The text of a key file whose keys were wrapped again.
#[derive(Debug)]
pub struct Rewrapped {
    /// The text.
    pub text: SecretBytes,
    /// The numbers of the lines whose comments may hold a plain key or a part of one, and were left out.
    pub left_out: Vec<usize>,
}

impl KeyFile {
    /// Returns the text of a key file in which `kms` has wrapped every key with the latest version of its own, also those that
    /// were plain. The keys stay the same ones, and so do names, order and comments, but for comments that may hold a plain
    /// key or a part of one: who has the new file must not have it.
    ///
    /// # Errors
    /// Returns what is wrong with the text, why a key can't be wrapped, or that what it was wrapped to isn't the same key.
    pub async fn wrapped_again(
        text: &[u8],
        kms: &dyn Kms,
        proof: Proof,
    ) -> Result<Rewrapped, KeysFileProblem> {
        let file = Self::parse(text)?;
        file.check(Some(kms))?;
        let (mut lines, mut left_out) = (Vec::new(), Vec::new());
        // It was read as UTF-8 before.
        let text = str::from_utf8(text).map_err(|_| KeysProblem::NoText)?;
        let known = Known {
            scheme: kms.scheme(),
            names: file.entries().iter().map(|entry| &entry.name).collect(),
        };
        for (number, line) in (1..).zip(text.lines()) {
            let is_left_out = line.trim().starts_with('#') && known.may_hold_a_key(line);
            lines.push(match is_left_out {
                true => LEFT_OUT.to_owned(),
                false => line.to_owned(),
            });
            left_out.extend(is_left_out.then_some(number));
        }
        for Entry { line, name, key } in file.entries() {
            let failed = |error| NotUnwrapped {
                name: name.clone(),
                error,
            };
            let wrapped = wrap(key, kms, proof).await.map_err(failed)?;
            lines[line - 1] = wrapped.line(name);
        }
        Ok(Rewrapped {
            text: SecretBytes::new((lines.join("\n") + "\n").into_bytes()),
            left_out,
        })
    }
}

/// Has a key wrapped again, and proves that it is the same one.
async fn wrap(key: &Key, kms: &dyn Kms, proof: Proof) -> Result<WrappedKey, KmsError> {
    let wrapped = match key {
        Key::Plain(key) => kms.encrypt(key.bytes()).await?,
        Key::Wrapped(key) => kms.encrypt_again(key).await?,
    };
    if proof == Proof::None {
        return Ok(wrapped);
    }
    let before = match key {
        Key::Plain(key) => key.bytes().clone(),
        Key::Wrapped(key) => kms.decrypt(key).await?,
    };
    let now = kms.decrypt(&wrapped).await?;
    let is_same = aws_lc_rs::constant_time::verify_slices_are_equal(&before, &now).is_ok();
    match is_same && now.len() == MasterKey::BYTES {
        true => Ok(wrapped),
        false => Err(KmsError::lasting(
            "what it was wrapped to opens to something else than this key: is vault-address right?",
        )),
    }
}
