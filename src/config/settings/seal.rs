//! The settings of sealing.

use std::path::PathBuf;

use crate::config::syntax::{boolean, file};

settings! {
    /// The settings of sealing.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct SealSettings in "Sealing" {
        /// A file with the keys that tokens are sealed with before they are stored: a key a line, its name and then the key,
        /// which Vault may have wrapped. The first one seals, all open. Unset: tokens are stored as they are
        seal_keys: Option<PathBuf> = file().optional();
        /// Serve no row that isn't sealed. Turn it on when `token-broker keys status` finds none
        require_sealed: bool = boolean().default("false");
    }
}
