//! Turns the settings of sealing into how rows are sealed.

use super::{problem::Problems, settings::SealSettings};
use crate::{seal::Keys, store::Sealing, types::Tenant};

/// Returns how a tenant's rows are sealed. Reads the key file, and adds to `problems` what is wrong with it.
pub(super) fn sealing(seal: &SealSettings, tenant: &Tenant, problems: &mut Problems) -> Sealing {
    let (file, require) = (SealSettings::seal_keys, SealSettings::require_sealed);
    let keys = seal.seal_keys.as_deref().and_then(|path| {
        let keys = Keys::from_file(path);
        keys.map_err(|problem| problems.add(file, problem.to_string()))
            .ok()
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
