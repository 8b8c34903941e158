//! How long tokens live, and how large they may get.

use std::{collections::HashSet, time::Duration};

use crate::{
    config::{
        syntax::{number, span},
        value::{Form, Value},
    },
    types::ProviderName,
};

/// The largest thing that a limit may allow, in bytes: a protobuf message is below 2 GiB.
pub(super) const LARGEST: usize = 1 << 30;

settings! {
    /// How long tokens live, and which are never carried over.
    #[derive(Debug)]
    pub(in crate::config) struct TokenSettings in "Tokens" {
        /// How long a refresh token lives where the provider doesn't tell; bounds how long rows are
        /// kept
        refresh_lifetime: Duration = span().default("30days");
        /// A provider that rotates refresh tokens, whose refresh tokens are never carried over from
        /// another session; repeatable
        rotating_provider: HashSet<ProviderName> = providers();
    }
}

settings! {
    /// How large rows and sessions may get.
    #[derive(Debug)]
    pub(in crate::config) struct LimitSettings in "Limits" {
        /// Bytes of one token at most
        max_token_bytes: usize = number(1..=LARGEST).default("32768");
        /// Bytes of one row at most
        max_row_bytes: usize = number(1..=LARGEST).default("61440");
        /// Providers of one session at most
        max_providers: usize = number(1..=1024).default("64");
    }
}

fn providers() -> Value<HashSet<ProviderName>> {
    Value::list(
        Form::List,
        "PROVIDER",
        |providers: &mut HashSet<_>, name| {
            ProviderName::new(name).map(|provider| _ = providers.insert(provider))
        },
    )
}
