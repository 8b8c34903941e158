//! Turns the settings of sealing into how rows are sealed.

use std::{collections::BTreeMap, path::PathBuf};

use super::{problem::Problems, settings::SealSettings};
use crate::{seal::Keys, store::Sealing, types::Tenant};

/// The key files that were read, by path. Tenants that share a file share its keys; a file that is wrong is told once.
#[derive(Default)]
pub(super) struct KeyFiles(BTreeMap<PathBuf, Keys>);

impl KeyFiles {
    /// Returns how a tenant's rows are sealed. Reads the key file, and adds to `problems` what is wrong with it.
    pub fn sealing(
        &mut self,
        seal: &SealSettings,
        tenant: &Tenant,
        problems: &mut Problems,
    ) -> Sealing {
        let (file, require) = (SealSettings::seal_keys, SealSettings::require_sealed);
        let keys = seal.seal_keys.as_ref().map(|path| {
            let read = self.0.entry(path.clone()).or_insert_with(|| {
                Keys::from_file(path).unwrap_or_else(|problem| {
                    problems.add(file, problem.to_string());
                    Keys::default()
                })
            });
            read.clone()
        });
        if seal.require_sealed && seal.seal_keys.is_none() {
            let message = format!("needs {file}: without keys no row can be read");
            problems.add_together(require, &[file], message);
        }
        Sealing {
            tenant: tenant.clone(),
            keys: keys.unwrap_or_default(),
            require_sealed: seal.require_sealed,
        }
    }
}
