//! Turns the settings of sealing into how rows are sealed.

use std::{path::PathBuf, sync::Arc};

use super::{
    problem::Problems,
    settings::{SealSettings, VaultSettings},
    vault,
    written::Settings,
};
use crate::{
    seal::{Demands, Keys},
    store::Sealing,
    types::Tenant,
    vault::{Vault, VaultOptions},
};

/// The key files that were read. Tenants that have the same source share the keys; a file that is wrong is told once.
#[derive(Default)]
pub(super) struct KeyFiles(Vec<(Source, Keys)>);

/// Where keys come from: a file, who unwraps its keys, and what they have to be.
type Source = (PathBuf, Option<VaultOptions>, Demands);

impl KeyFiles {
    /// Returns how a tenant's rows are sealed, by its settings, which are those that are `written`. Reads the key file, and adds to `problems` what is wrong with it.
    pub fn sealing(
        &mut self,
        seal: &SealSettings,
        vault: &VaultSettings,
        written: &Settings,
        tenant: &Tenant,
        problems: &mut Problems,
    ) -> Sealing {
        let (file, require) = (SealSettings::seal_keys, SealSettings::require_sealed);
        let is_set = vault.vault_address.is_some();
        let vault = vault::options(vault, written, problems);
        let keys = match &seal.seal_keys {
            // What is wrong with Vault's settings is told; the keys can't be judged without them.
            Some(_) if is_set && vault.is_none() => None,
            Some(path) => {
                let demands = Demands {
                    wrapped: seal.require_wrapped,
                    fingerprints: seal.seal_key_fingerprints.clone(),
                };
                Some(self.keys((path.clone(), vault, demands), problems))
            }
            None => None,
        };
        let demands = [
            (SealSettings::require_wrapped, seal.require_wrapped),
            (
                SealSettings::seal_key_fingerprints,
                !seal.seal_key_fingerprints.is_empty(),
            ),
        ];
        for (setting, _) in demands.iter().filter(|(_, is_set)| *is_set) {
            if seal.seal_keys.is_none() {
                let message = format!("has no effect without {file}");
                problems.add_together(setting, &[file], message);
            }
        }
        if seal.require_wrapped && !is_set {
            let address = VaultSettings::vault_address;
            let message = format!("needs {address}: nobody else wraps keys");
            problems.add_together(SealSettings::require_wrapped, &[address], message);
        }
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

    fn keys(&mut self, source: Source, problems: &mut Problems) -> Keys {
        let mut known = self.0.iter();
        if let Some((_, keys)) = known.find(|(known, _)| *known == source) {
            return keys.clone();
        }
        let (path, vault, demands) = &source;
        let kms = vault
            .clone()
            .map(|options| Arc::new(Vault::new(options)) as _);
        let read = Keys::read(path, kms, demands.clone());
        let keys = read.unwrap_or_else(|problem| {
            problems.add(SealSettings::seal_keys, problem.to_string());
            Keys::default()
        });
        self.0.push((source, keys.clone()));
        keys
    }
}
