//! The settings of the callers.

use std::path::PathBuf;

use crate::config::syntax::file;

settings! {
    /// Who may call.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct AccessSettings in "Callers" {
        /// A TOML file that says who may call, and what each caller may do. It is read again when it
        /// changes. Without it the broker serves anybody who reaches it
        policy: Option<PathBuf> = file().optional();
    }
}
