//! Whether Redis may evict rows when its memory is full.

use redis::FromRedisValue;

use super::link::Link;
use crate::store::Error;

/// The policy of a Redis that evicts nothing.
const NONE: &str = "noeviction";

/// Returns the name of the policy by which Redis evicts keys. Returns `None` if it evicts none, or doesn't say.
///
/// # Errors
/// Returns [`Error::Unavailable`].
pub(super) async fn policy(link: &Link) -> Result<Option<String>, Error> {
    let mut info = redis::cmd("INFO");
    info.arg("memory");
    let answer = link.read(&info).await?;
    let text = String::from_redis_value(answer).unwrap_or_default();
    let mut lines = text.lines();
    let policy = lines.find_map(|line| line.strip_prefix("maxmemory_policy:"));
    let policy = policy.map(|policy| policy.trim().to_owned());
    Ok(policy.filter(|policy| policy != NONE))
}
