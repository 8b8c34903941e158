//! Sealing keys for tests. The same names are the same keys, in every process and every run.

use token_broker::{
    seal::{KeyRing, Keys, MasterKey},
    store::Sealing,
    types::{KeyName, SecretBytes, Tenant},
};

/// Returns the key of this name.
pub fn key(name: &str) -> MasterKey {
    MasterKey::new(&KeyName::new(name).unwrap(), bytes(name)).unwrap()
}

/// Returns another key, which has the name all the same.
pub fn namesake(name: &str) -> MasterKey {
    MasterKey::new(&KeyName::new(name).unwrap(), bytes(&format!("not {name}"))).unwrap()
}

/// Returns the key of the name `from` under the name `to`.
pub fn renamed(from: &str, to: &str) -> MasterKey {
    MasterKey::new(&KeyName::new(to).unwrap(), bytes(from)).unwrap()
}

fn bytes(name: &str) -> SecretBytes {
    let mut bytes = SecretBytes::new(vec![0x5c; MasterKey::BYTES]);
    for (at, byte) in name.bytes().enumerate() {
        bytes[at % MasterKey::BYTES] ^= byte;
    }
    bytes
}

/// Returns the keys of these names. The first one seals.
pub fn keys(names: &[&str]) -> Keys {
    Keys::fixed(KeyRing::of(names.iter().copied().map(key).collect()))
}

/// Has the file of these keys followed as brokers do, as long as the runtime lasts. Returns the keys.
pub fn followed(keys: Keys) -> Keys {
    let followed = keys.clone();
    tokio::spawn(async move { followed.follow(tokio_stream::pending()).await });
    keys
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
