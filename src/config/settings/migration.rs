//! What to do with the data of older software.

use std::time::Duration;

use crate::{
    config::{
        syntax::{boolean, span},
        value::{Form, Value},
    },
    store::redis::maintenance::migration::LegacyMapping,
};

settings! {
    /// What to do with the data of older software.
    #[derive(Clone, Debug)]
    pub struct MigrationSettings in "Migration" {
        /// The provider that rows of an old protocol type belong to, TYPE=PROVIDER, as in
        /// oidc=corp-okta; repeatable
        legacy_provider: LegacyMapping =
            Value::list(Form::Pairs, "TYPE=PROVIDER", LegacyMapping::add);
        /// Start although there are rows that can't be migrated; they stay unreadable
        allow_unmigrated: bool = boolean().default("false");
        /// How often rows that other software writes in the old layout are looked for, in the grace
        /// period
        legacy_sweep_interval: Duration = span().default("30s");
    }
}
