//! What became of the calls to a provider, as numbers since the start.

use crate::meter::Count;

/// The calls to one provider.
#[derive(Debug, Default)]
pub struct Counts {
    /// Refresh tokens that were sent.
    pub sent: Count,
    /// Answers with tokens.
    pub tokens: Count,
    /// Answers that refuse the refresh token for good.
    pub refused: Count,
    /// Answers that refuse the broker as a client.
    pub misconfigured: Count,
    /// Calls that surely redeemed nothing, and may be made again.
    pub passing: Count,
    /// Calls of which it isn't known whether they redeemed the token.
    pub unknown: Count,
    /// Rows that were found in doubt.
    pub in_doubt: Count,
    /// Callers that waited for a refresh.
    pub waited: Count,
    /// Callers that were refused because too many waited.
    pub turned_away: Count,
}
