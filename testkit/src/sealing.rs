//! Sealing keys for tests. The same names are the same keys, in every process and every run.

use token_broker::{
    seal::{KeyRing, Keys, MasterKey},
    store::Sealing,
    types::{KeyId, SecretBytes, Tenant},
};

/// Returns the key of this name.
pub fn key(name: &str) -> MasterKey {
    let mut bytes = SecretBytes::new(vec![0x5c; MasterKey::BYTES]);
    for (at, byte) in name.bytes().enumerate() {
        bytes[at % MasterKey::BYTES] ^= byte;
    }
    MasterKey::new(KeyId::new(name).unwrap(), bytes).unwrap()
}

/// Returns the keys of these names. The first one seals.
pub fn keys(names: &[&str]) -> Keys {
    Keys::fixed(KeyRing::of(names.iter().copied().map(key).collect()))
}

/// Returns how a tenant is sealed by a broker that has these keys.
pub fn sealing(tenant: &Tenant, names: &[&str]) -> Sealing {
    Sealing {
        tenant: tenant.clone(),
        keys: keys(names),
        require_sealed: false,
    }
}

/// Returns the text of a key file with these keys.
pub fn file(names: &[&str]) -> String {
    let lines = names.iter().map(|name| key(name).line().to_vec());
    String::from_utf8(lines.flatten().collect()).unwrap()
}
