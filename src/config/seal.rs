//! Turns the settings of sealing into how rows are sealed.

use std::{path::PathBuf, sync::Arc};

use super::{
    problem::Problems,
    settings::{SealSettings, VaultSettings},
    vault,
};
use crate::{
    seal::Keys,
    store::Sealing,
    types::Tenant,
    vault::{Vault, VaultOptions},
};

/// The key files that were read, each with who unwraps its keys. Tenants that share both share the keys; a file that is wrong
/// is told once.
#[derive(Default)]
pub(super) struct KeyFiles(Vec<(PathBuf, Option<VaultOptions>, Keys)>);

impl KeyFiles {
    /// Returns how a tenant's rows are sealed. Reads the key file, and adds to `problems` what is wrong with it.
    pub fn sealing(
        &mut self,
        seal: &SealSettings,
        vault: &VaultSettings,
        tenant: &Tenant,
        problems: &mut Problems,
    ) -> Sealing {
        let (file, require) = (SealSettings::seal_keys, SealSettings::require_sealed);
        let is_set = vault.vault_address.is_some();
        let vault = vault::options(vault, problems);
        let keys = match &seal.seal_keys {
            // What is wrong with Vault's settings is told; the keys can't be judged without them.
            Some(_) if is_set && vault.is_none() => None,
            Some(path) => Some(self.keys(path.clone(), vault, problems)),
            None => None,
        };
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

    fn keys(
        &mut self,
        path: PathBuf,
        vault: Option<VaultOptions>,
        problems: &mut Problems,
    ) -> Keys {
        let mut known = self.0.iter();
        let known = known.find(|(known, by, _)| *known == path && *by == vault);
        if let Some((_, _, keys)) = known {
            return keys.clone();
        }
        let read = match &vault {
            Some(options) => Keys::wrapped_by(Arc::new(Vault::new(options.clone())), &path),
            None => Keys::from_file(&path),
        };
        let keys = read.unwrap_or_else(|problem| {
            problems.add(SealSettings::seal_keys, problem.to_string());
            Keys::default()
        });
        self.0.push((path, vault, keys.clone()));
        keys
    }
}
