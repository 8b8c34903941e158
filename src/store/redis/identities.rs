//! What is known about a tenant's users apart from their rows.

use super::{
    RedisStore,
    link::Effect,
    user_rows::{SERVERS, deleted, unsettled},
};
use crate::{
    store::{DeletedIdentities, Error, Identities},
    types::UserId,
};

impl Identities for RedisStore {
    /// Deletes the identities, and the user record last. If the call is interrupted, the next one deletes the
    /// rest. If another server takes over, this begins anew.
    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        let scripts = self.redis.scripts();
        let set = self.keys.user_identities(user);
        let (own, id) = (self.keys.identities(), user.as_str().as_bytes());
        let record = self.keys.user(user);
        let args = [self.keys.prefix().as_bytes(), self.durable_flag()];
        let mut all = DeletedIdentities::default();
        for _ in 0..SERVERS {
            let (count, lineage) = self
                .delete_members(&own, |_| true, &scripts.delete_identities, &[&set], &[id])
                .await?;
            all.count += count;
            let answer = self
                .link
                .call(&scripts.delete_user, &[&record], &args, Effect::Writes)
                .await?;
            let (records, deleted_in) = deleted(answer)?;
            all.record |= records > 0;
            if deleted_in == lineage {
                all.lineage = lineage;
                return Ok(all);
            }
        }
        Err(unsettled())
    }
}
