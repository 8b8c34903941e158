//! The settings of the storage: where the broker keeps tokens, and for which tenant.

use crate::{
    config::syntax::{choice, parsed},
    types::Tenant,
};

/// Where the broker keeps tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In the memory of this process.
    Memory,
    /// In Redis.
    Redis,
}

const BACKENDS: [(&str, Backend); 2] = [("memory", Backend::Memory), ("redis", Backend::Redis)];

settings! {
    /// Where the broker keeps tokens, and for which tenant.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct StorageSettings {
        /// Where the broker keeps tokens: `memory` (gone at exit) or `redis`
        backend: Backend = choice("BACKEND", &BACKENDS).default("memory");
        /// The tenant that the tokens belong to, as NAMESPACE:NAME
        tenant: Tenant = parsed("TENANT").default("default:default");
    }
}
