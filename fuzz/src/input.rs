//! What the targets share: taking the fuzzer's bytes apart, planted flaws, and a secret that must not be quoted.

use std::{fmt::Debug, sync::LazyLock};

use token_broker::{
    seal::{KeyRing, MasterKey},
    types::{KeyName, ProviderName, SecretBytes, Tenant},
};

/// Stands for a secret in seeds. No message may quote it.
pub const CANARY: &str = "hunter2";

/// Whether targets call broken variants of what they fuzz.
pub fn planted() -> bool {
    static PLANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FUZZ_PLANTED").is_some());
    *PLANTED
}

/// Returns the text before the first line break, and what follows it.
pub fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    end.map_or((bytes, &[]), |end| (&bytes[..end], &bytes[end + 1..]))
}

/// Panics if a message quotes the canary.
pub fn quotes_nothing(what: &str, message: &str) {
    assert!(
        !message.contains(CANARY),
        "{what} quotes a secret: {message}"
    );
}

/// Panics if the debug form of a value quotes the canary.
pub fn prints_nothing(what: &str, value: &impl Debug) {
    quotes_nothing(what, &format!("{value:?}"));
}

/// Returns the provider that rows are read for.
pub fn provider() -> ProviderName {
    ProviderName::new("p").expect("a name")
}

/// Returns the tenant.
pub fn tenant() -> Tenant {
    "test:fuzz".parse().expect("a tenant")
}

/// Returns the sealing keys: always the same ones, so that the seeds open.
pub fn ring() -> KeyRing {
    let key = |name: &str, byte| {
        let key = SecretBytes::new(vec![byte; MasterKey::BYTES]);
        MasterKey::new(&KeyName::new(name).expect("a name"), key).expect("a key")
    };
    KeyRing::of(vec![key("a", 0x5c), key("b", 0xc5)])
}
