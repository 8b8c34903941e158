//! The file of the policy: from what the operator wrote to an [`access::Policy`](crate::access::Policy). All mistakes are
//! told together, each with its line and key.
//!
//! `document.rs` reads TOML, `caller.rs` the table of one caller, and `credentials.rs` what a caller is known by.
//! `known.rs` warns of what has no effect at this broker.

mod caller;
mod credentials;
mod document;
mod known;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use sha2::{Digest, Sha256};

use super::{Problem, settings::AccessSettings};
use crate::{
    access::{Policy, Ways},
    types::{Tenant, read_file},
};

/// No policy is larger, in MiB.
const LARGEST: u64 = 16;

/// The file of the policy, which may be read again and again.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    path: PathBuf,
    served: Arc<[Tenant]>,
    ways: Ways,
}

/// The text of a policy.
#[derive(Clone, PartialEq, Eq)]
pub struct PolicyText(String);

impl PolicyText {
    /// Takes the text of a policy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns what tells this text from others.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

/// Prints nothing: it holds the hashes of bearer tokens, or a token in their place.
impl std::fmt::Debug for PolicyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PolicyText(***)")
    }
}

impl PolicyFile {
    /// Names a file for a broker that serves these tenants, and can know callers in these ways.
    #[must_use]
    pub fn new(path: PathBuf, served: Arc<[Tenant]>, ways: Ways) -> Self {
        Self { path, served, ways }
    }

    /// Returns how this broker can know callers.
    #[must_use]
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// Returns what of a policy has no effect at this broker, which the operator should know: the policy may be one that
    /// several brokers share. There are only so many warnings, whatever the size of the policy.
    #[must_use]
    pub fn warnings(&self, policy: &Policy) -> Vec<Problem> {
        known::warnings(policy, &self.ways)
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Returns a [`Problem`] if the file can't be read, is too large, or isn't UTF-8.
    pub fn read(&self) -> Result<PolicyText, Problem> {
        // No message quotes the path, which may be what the file should hold.
        let problem = |what: String| Problem::new(AccessSettings::policy, what);
        let bytes = read_file(&self.path, LARGEST).map_err(|wrong| problem(wrong.to_string()))?;
        let text = str::from_utf8(&bytes);
        let text = text.map_err(|_| problem("the file is not UTF-8".to_owned()))?;
        Ok(PolicyText::new(text.to_owned()))
    }

    /// Makes the policy that a text of this file describes.
    ///
    /// # Errors
    /// Returns every [`Problem`] that was found.
    pub fn parse(&self, text: &PolicyText) -> Result<Policy, Vec<Problem>> {
        document::parse(&text.0, &self.served).map_err(|problems| {
            let placed = problems.into_iter().map(|(line, message)| {
                Problem::new(AccessSettings::policy, format!("line {line}: {message}"))
            });
            placed.collect()
        })
    }
}
