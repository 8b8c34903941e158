//! The settings for the data of older software.

use std::time::Duration;

use crate::{
    config::{
        syntax::{boolean, span_from},
        value::{Form, Value},
    },
    store::redis::maintenance::migration::LegacyMapping,
};

settings! {
    /// The settings for the data of older software.
    #[derive(Clone, Debug)]
    pub struct MigrationSettings in "Migration" {
        /// The provider that rows of an old protocol type belong to, as TYPE=PROVIDER, such as
        /// oidc=corp-okta; repeatable
        legacy_provider: LegacyMapping =
            Value::list(Form::Pairs, "TYPE=PROVIDER", LegacyMapping::add);
        /// Start even if some rows can't be migrated; those rows stay unreadable
        allow_unmigrated: bool = boolean().default("false");
        /// How often the broker looks for rows that other software writes in the old layout, during
        /// the grace period
        legacy_sweep_interval: Duration = span_from(Duration::from_secs(1)).default("30s");
    }
}
