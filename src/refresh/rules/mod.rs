//! The rules of redeeming: what each step makes of a [`Record`](crate::types::Record).
//!
//! All brokers share a record. A broker reads it together with its row, applies a rule, and writes what came out on condition
//! that neither has changed meanwhile; else it reads again. So each rule sees the latest state and is one step.
//!
//! ```text
//!            take                     redeemed
//!   Free ───────────────▶ Open ─────────────────────▶ Redeemed
//!    ▲                     │ │                            ▲
//!    │ withdraw, passing   │ └── refused ──▶ Refused      │ the late result
//!    ├─────────────────────┤                   │          │ of any attempt
//!    │                     └── take, refused ──▶ InDoubt ─┘
//!    └── clear_refused (Refused), withdraw (InDoubt)
//! ```

mod ending;
mod result;
mod take;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::{
    ending::{Refusal, clear_refused, no_answer, passing, refused, withdraw},
    result::{Answered, Held, Placing, given_up, place, written},
    take::{Take, Taking, renew, take},
};
use super::provider::Rotation;

/// How long a broker may take over the redemption of a token without writing again.
pub const LEASE: Duration = Duration::from_secs(3);

/// How many attempts an entry remembers whose outcome isn't known, and how many that have ended. A copy of a request to the
/// store that arrives later than those is refused for its age.
const REMEMBERED: usize = 16;

/// What the provider's settings say about sending a refresh token again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What the provider makes of a token that was redeemed before.
    pub rotation: Rotation,
    /// Whether a token that may have been redeemed is never sent again.
    pub never_replay: bool,
    /// After so long no request is on its way any more.
    pub request_timeout: Duration,
    /// How much time has to pass between two refreshes because of a refused access token.
    pub rejected_interval: Duration,
}

/// What is assumed of a provider that isn't configured.
impl Default for Policy {
    fn default() -> Self {
        Self {
            rotation: Rotation::Strict,
            never_replay: false,
            request_timeout: Duration::from_secs(30),
            rejected_interval: Duration::from_secs(60),
        }
    }
}
