//! Turns the settings of Vault into who unwraps sealing keys.

use std::{path::PathBuf, sync::Arc};

use super::{
    problem::{Problem, Problems},
    settings::{
        Reader, SealSettings, StorageSettings, Subject, VaultAuth, VaultSettings, of_a_tenant,
    },
    written::Settings,
};
use crate::{
    seal::Kms,
    types::read_whole,
    vault::{Login, Vault, VaultOptions},
};

/// What commands need that wrap keys.
#[derive(Debug)]
pub struct Wrapping {
    /// Who wraps.
    pub kms: Arc<dyn Kms>,
    /// The key file, which needn't be there.
    pub seal_keys: Option<PathBuf>,
}

impl Settings {
    /// Returns who wraps sealing keys, whatever else is set, and whether the key file is there or not.
    ///
    /// # Errors
    /// Returns what is wrong with the settings of it.
    pub fn wrapping(&self) -> Result<Wrapping, Vec<Problem>> {
        let mut problems = Problems::default();
        problems.extend(self.problems());
        let named = self.get(StorageSettings::tenant).first();
        let table = match (named, self.tenants()) {
            (Some(name), tenants) => tenants.get(name),
            (None, tenants) if tenants.len() > 1 => {
                let message = "must be set: each tenant may have keys of its own";
                problems.add(StorageSettings::tenant, message);
                None
            }
            (None, tenants) => tenants.values().next(),
        };
        let mut written = table.unwrap_or(self).clone();
        written.inherit(self, of_a_tenant().iter().map(|setting| setting.name));
        let mut reader = Reader::new(&written);
        let vault = VaultSettings::read(&mut reader);
        let seal = SealSettings::read(&mut reader);
        problems.extend(&reader.problems.take());
        let options = options(&vault, &written, &mut problems);
        if vault.vault_address.is_none() {
            let message = "must be set: nobody else wraps keys";
            problems.add_together(VaultSettings::vault_address, &[], message);
        }
        match (options, problems.take()) {
            (Some(options), problems) if problems.is_empty() => Ok(Wrapping {
                kms: Arc::new(Vault::new(options)),
                seal_keys: seal.seal_keys,
            }),
            (_, problems) => Err(problems
                .into_iter()
                .map(|found| written.named(found))
                .collect()),
        }
    }
}

/// Returns how Vault is reached, if an address is set in what is `written`. Adds to `problems` what is wrong.
pub(super) fn options(
    settings: &VaultSettings,
    written: &Settings,
    problems: &mut Problems,
) -> Option<VaultOptions> {
    let VaultSettings {
        vault_address: address,
        vault_key: key,
        ..
    } = settings;
    let address_name = VaultSettings::vault_address;
    let Some(address) = address else {
        let of_vault = of_a_tenant()
            .iter()
            .filter(|setting| setting.style.heading == Some(VaultSettings::HEADING));
        for setting in of_vault {
            let texts = written.get(setting.name).iter().map(String::as_str);
            // Who writes a default changes nothing by it.
            if !written.is_set(setting.name) || texts.eq(setting.style.default) {
                continue;
            }
            let message = format!("has no effect without {address_name}");
            problems.add_together(setting.name, &[address_name], message);
        }
        return None;
    };
    if address.target() != "/" {
        problems.add(address_name, "must be a URL without a path");
    }
    if let Some(ca) = &settings.vault_ca {
        let read = read_whole(ca).map_err(|problem| problem.to_string());
        let checked = read.and_then(|pem| VaultOptions::check_authorities(&pem));
        if let Err(wrong) = checked {
            problems.add(VaultSettings::vault_ca, wrong);
        }
    }
    let login = login(settings, problems);
    if key.is_none() {
        let message = format!("must be set with {address_name}");
        problems.add_together(VaultSettings::vault_key, &[address_name], message);
    }
    Some(VaultOptions {
        address: address.clone(),
        mount: settings.vault_mount.clone(),
        key: key.clone()?,
        namespace: settings.vault_namespace.clone(),
        ca: settings.vault_ca.clone(),
        login: login?,
        timeout: settings.vault_timeout,
        patience: settings.vault_patience,
    })
}

fn login(settings: &VaultSettings, problems: &mut Problems) -> Option<Login> {
    let auth = VaultSettings::vault_auth;
    let mut needed = |name: &str, is_set: bool, method: &str| {
        if !is_set {
            let message = format!("must be set for {auth} = {method}");
            problems.add_together(name, &[auth], message);
        }
    };
    let mount = |usual: &str| {
        let set = settings.vault_auth_mount.clone();
        set.unwrap_or_else(|| usual.to_owned())
    };
    Some(match settings.vault_auth {
        VaultAuth::Token => {
            let file = &settings.vault_token_file;
            needed(VaultSettings::vault_token_file, file.is_some(), "token");
            Login::Token(file.clone()?)
        }
        VaultAuth::Kubernetes => {
            let role = &settings.vault_role;
            needed(VaultSettings::vault_role, role.is_some(), "kubernetes");
            Login::Kubernetes {
                mount: mount("kubernetes"),
                role: role.clone()?,
                jwt: settings.vault_jwt_file.clone(),
            }
        }
        VaultAuth::AppRole => {
            let (role_id, secret_id) =
                (&settings.vault_role_id_file, &settings.vault_secret_id_file);
            needed(
                VaultSettings::vault_role_id_file,
                role_id.is_some(),
                "approle",
            );
            needed(
                VaultSettings::vault_secret_id_file,
                secret_id.is_some(),
                "approle",
            );
            Login::AppRole {
                mount: mount("approle"),
                role_id: role_id.clone()?,
                secret_id: secret_id.clone()?,
            }
        }
    })
}
