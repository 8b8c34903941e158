//! What is known of a tenant's users beside their rows.

use super::{
    RedisStore,
    link::{Effect, reply},
};
use crate::{
    store::{DeletedIdentities, Error, Identities},
    types::UserId,
};

impl Identities for RedisStore {
    /// The user record goes last: a call that was interrupted is finished by the next one.
    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        let scripts = self.redis.scripts();
        let set = self.keys.user_identities(user);
        let (own, id) = (self.keys.identities(), user.as_str().as_bytes());
        let count = self
            .delete_members(&own, &scripts.delete_identities, &[&set], &[id])
            .await?;

        let record = self.keys.user(user);
        let args = [self.keys.prefix().as_bytes(), self.durable_flag()];
        let deleted = self
            .link
            .call(&scripts.delete_user, &[&record], &args, Effect::Writes)
            .await?;
        let records: u64 = reply::parse(deleted)?;
        Ok(DeletedIdentities {
            count,
            record: records > 0,
        })
    }
}
