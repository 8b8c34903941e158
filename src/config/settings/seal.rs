//! The settings of sealing.

use std::path::PathBuf;

use crate::{
    config::{
        syntax::{boolean, file},
        value::{Form, Value},
    },
    types::Fingerprint,
};

settings! {
    /// The settings of sealing.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct SealSettings in "Sealing" {
        /// A file with the keys that tokens are sealed with before they are stored: a key a line, its name and then the key,
        /// which Vault may have wrapped. The first one seals, all open. Unset: tokens are stored as they are
        seal_keys: Option<PathBuf> = file().optional();
        /// Refuse a key file with a key that isn't wrapped: then somebody who writes the file, and can't have Vault wrap, doesn't
        /// choose the key that seals
        require_wrapped: bool = boolean().default("false");
        /// The fingerprints of the keys that may be in the file, as `token-broker keys` and the log write them, with or without the
        /// name. With another key in it the file is refused. Unset: any key may
        seal_key_fingerprints: Vec<Fingerprint> = Value::list(Form::List, "FINGERPRINT", add_fingerprint);
        /// Serve no row that isn't sealed. Turn it on when `token-broker keys status` finds none
        require_sealed: bool = boolean().default("false");
    }
}

fn add_fingerprint(all: &mut Vec<Fingerprint>, text: &str) -> Result<(), &'static str> {
    const WHAT: &str = "must be the fingerprint of a key, 16 hexadecimal digits in small letters, or its name, a dot and these";
    all.push(Fingerprint::parse(text.trim()).ok_or(WHAT)?);
    Ok(())
}
