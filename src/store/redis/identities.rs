//! What is known about a tenant's users apart from their rows.

use super::{
    RedisStore,
    link::{Effect, reply},
};
use crate::{
    store::{DeletedIdentities, Error, Identities},
    types::UserId,
};

impl Identities for RedisStore {
    /// Deletes the identities, and the user record last. If the call is interrupted, the next one deletes the
    /// rest.
    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        let scripts = self.redis.scripts();
        let set = self.keys.user_identities(user);
        let (own, id) = (self.keys.identities(), user.as_str().as_bytes());
        let count = self
            .delete_members(&own, |_| true, &scripts.delete_identities, &[&set], &[id])
            .await?;

        let record = self.keys.user(user);
        let args = [self.keys.prefix().as_bytes(), self.durable_flag()];
        let deleted = self
            .link
            .call(&scripts.delete_user, &[&record], &args, Effect::Writes)
            .await?;
        let records: u64 = reply::of_write(deleted)?;
        Ok(DeletedIdentities {
            count,
            record: records > 0,
        })
    }
}
