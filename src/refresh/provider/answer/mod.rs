//! What the answer of a token endpoint means.

mod classify;
mod code;
mod id_token;
mod read;
mod tokens;

use std::time::Duration;

pub(super) use self::read::error_code;
pub use self::{classify::classify, code::Code, id_token::IdClaims, tokens::TokenAnswer};
use super::Why;

/// The longest time for which a provider, or a caller that redeems itself, can keep everybody from trying again. A provider
/// whose clock or gateway is wrong would otherwise hold a row on all brokers for days.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// What became of a redemption (guarantees, section 6, R4 and R6).
#[derive(Debug)]
pub enum Answer {
    /// The token was redeemed, and these are its successors.
    Tokens(Box<TokenAnswer>),
    /// The provider refuses the token for good.
    Refused {
        /// The code that says so.
        code: Code,
    },
    /// The provider refuses the client or the request. The token wasn't redeemed.
    OurFault {
        /// What the provider found wrong.
        why: Why,
        /// Whether the files or variables with the credentials have changed since the request was prepared, so that
        /// another try may help.
        credentials_changed: bool,
    },
    /// The token surely wasn't redeemed, and may be sent later.
    Passing {
        /// What went wrong.
        why: Why,
        /// How long the provider asks to wait.
        retry_after: Option<Duration>,
    },
    /// It isn't known whether the token was redeemed.
    Unknown {
        /// What went wrong.
        why: Why,
    },
}
