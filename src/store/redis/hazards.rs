//! What about a Redis endangers the records of refresh tokens. If one is lost, its token may be redeemed twice.

use super::{Durability, RedisStore, link::Link};
use crate::store::Error;

impl RedisStore {
    /// Warns of what can lose the last writes. Providers that rotate refresh tokens take it for theft when a token whose
    /// redemption was forgotten comes again (guarantees, section 6, R14).
    pub async fn warn_of_hazards(&self) {
        if let Ok(false) = keeps_a_log(&self.link).await {
            tracing::warn!(
                "appendonly isn't set in Redis, and a provider rotates refresh tokens: a Redis that restarts forgets which \
                 tokens were redeemed, and a second redemption ends the user's session"
            );
        }
        if self.redis.options().durability == Durability::Primary
            && let Ok(1..) = replicas(&self.link).await
        {
            tracing::warn!(
                "durability is primary, Redis has replicas, and a provider rotates refresh tokens: a failover forgets which \
                 tokens were redeemed last, and a second redemption ends the user's session. Set durability = \"replicated\""
            );
        }
    }
}

/// Whether Redis writes a log of its writes to its disk.
async fn keeps_a_log(link: &Link) -> Result<bool, Error> {
    let persistence = link.info("persistence").await?;
    let enabled = persistence.get("aof_enabled");
    Ok(enabled.is_none_or(|enabled| enabled != "0"))
}

async fn replicas(link: &Link) -> Result<u32, Error> {
    let replication = link.info("replication").await?;
    let replicas = replication.get("connected_slaves");
    Ok(replicas
        .and_then(|count| count.parse().ok())
        .unwrap_or_default())
}
