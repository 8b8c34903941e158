//! Where tokens are kept, and whose they are.

use crate::{
    config::syntax::{choice, parsed},
    types::Tenant,
};

/// Where tokens are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In this process.
    Memory,
    /// In Redis.
    Redis,
}

const BACKENDS: [(&str, Backend); 2] = [("memory", Backend::Memory), ("redis", Backend::Redis)];

settings! {
    /// Where tokens are kept, and whose they are.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct StorageSettings {
        /// Where tokens are kept: `memory` (gone at exit) or `redis`
        backend: Backend = choice("BACKEND", &BACKENDS).default("memory");
        /// The tenant, NAMESPACE:NAME, whose tokens these are
        tenant: Tenant = parsed("TENANT").default("default:default");
    }
}
