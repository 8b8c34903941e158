//! The settings of tokens: how long they live, and how large they may get.

use std::time::Duration;

use crate::config::syntax::{boolean, number, span_from};

/// The largest limit that may be set, in bytes. A protobuf message is smaller than 2 GiB.
pub(super) const LARGEST: usize = 1 << 30;

settings! {
    /// How long tokens live.
    #[derive(Debug)]
    pub(in crate::config) struct TokenSettings in "Tokens" {
        /// How long a refresh token lives if the provider doesn't say; bounds how long rows are kept
        refresh_lifetime: Duration = span_from(Duration::from_secs(1)).default("30days");
        /// Redeem refresh tokens of providers that rotate them also in the grace period, while older software may do so, too
        refresh_in_grace: bool = boolean().default("false");
    }
}

settings! {
    /// How large rows, sessions and users may get.
    #[derive(Debug)]
    pub(in crate::config) struct LimitSettings in "Limits" {
        /// Maximum size of one token, in bytes
        max_token_bytes: usize = number(1..=LARGEST).default("32768");
        /// Maximum size of one row, in bytes
        max_row_bytes: usize = number(1..=LARGEST).default("61440");
        /// Maximum number of providers of one session
        max_providers: usize = number(1..=1024).default("64");
        /// Maximum number of identities of one user
        max_identities: usize = number(1..=1024).default("64");
        /// Maximum number of pending authorizations of one OAuth client;
        /// together they may take 2 KiB for each, and 1 MiB at least
        max_pending_of_client: usize = number(1..=10_000_000).default("10000");
        /// Maximum number of pending authorizations of the tenant;
        /// together they may take 2 KiB for each, and 1 MiB at least
        max_pending: usize = number(1..=10_000_000).default("100000");
    }
}
