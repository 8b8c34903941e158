//! Whether Redis may evict rows when its memory is full.

use super::link::Link;
use crate::store::Error;

/// The policy of a Redis that evicts nothing.
const NONE: &str = "noeviction";

/// Returns the name of the policy by which Redis evicts keys. Returns `None` if it evicts none, or doesn't say.
///
/// # Errors
/// Returns [`Error::Unavailable`].
pub(super) async fn policy(link: &Link) -> Result<Option<String>, Error> {
    let mut memory = link.info("memory").await?;
    let policy = memory.remove("maxmemory_policy");
    Ok(policy.filter(|policy| policy != NONE))
}
