//! A tenant's pending authorizations in Redis. Each method is one atomic step.

use super::{
    RedisStore,
    link::{Effect, reply},
    pending,
};
use crate::{
    error::Unopened,
    store::{Authorizations, CreateOutcome, Error, NewAuthorization, PendingLimit, TAKEN_FOR},
    types::{Nonce, PendingAuthorization, SecretBytes, State, UnixTime},
};

impl Authorizations for RedisStore {
    async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, Error> {
        let json = pending::encode(new.pending)
            .map_err(|_| Error::unavailable("the authorization can't be written as JSON"))?;
        let key = self.keys.pending(new.state);
        let of_client = self.keys.pending_of_client(&new.pending.client);
        let of_tenant = self.keys.all_pending();
        let id = new.pending.id.to_string();
        let keep_for = new.keep_for.as_millis().max(1).to_string();
        let limits = PendingLimit::ALL.map(|limit| new.limits.of(limit).to_string());
        let args = [
            self.keys.prefix().as_bytes(),
            self.durable_flag(),
            &json,
            id.as_bytes(),
            keep_for.as_bytes(),
            limits[0].as_bytes(),
            limits[1].as_bytes(),
            limits[2].as_bytes(),
            limits[3].as_bytes(),
        ];
        let script = &self.redis.scripts().create_pending;
        let client = &new.pending.client;
        let bytes = (
            self.keys.pending_bytes_of_client(client),
            self.keys.all_pending_bytes(),
        );
        let keys = [key.as_str(), &of_client, &of_tenant, &bytes.0, &bytes.1];
        let answer = self.link.call(script, &keys, &args, Effect::Writes).await?;
        match reply::of_write::<String>(answer)?.as_str() {
            "created" => Ok(CreateOutcome::Created),
            "exists" => Ok(CreateOutcome::Exists),
            "client" => Ok(CreateOutcome::TooMany(PendingLimit::OfClient)),
            "tenant" => Ok(CreateOutcome::TooMany(PendingLimit::OfTenant)),
            "client_bytes" => Ok(CreateOutcome::TooMany(PendingLimit::BytesOfClient)),
            "tenant_bytes" => Ok(CreateOutcome::TooMany(PendingLimit::BytesOfTenant)),
            _ => Err(reply::odd_outcome()),
        }
    }

    async fn pending(
        &self,
        state: &State,
    ) -> Result<Option<Result<PendingAuthorization, Unopened>>, Error> {
        let mut get = redis::cmd("GET");
        get.arg(self.keys.pending(state));
        let value = match self.link.read(&get).await {
            // Other software's.
            Err(Error::WrongType) => return Ok(None),
            answer => answer?,
        };
        let bytes = reply::bytes(value)?.map(SecretBytes::new);
        Ok(bytes.and_then(|bytes| pending::decode(&bytes)))
    }

    async fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> Result<bool, Error> {
        let key = self.keys.pending(state);
        let of_client = self.keys.pending_of_client(&pending.client);
        let of_tenant = self.keys.all_pending();
        let (id, taker) = (pending.id.to_string(), taker.to_string());
        let taken_for = TAKEN_FOR.as_millis().to_string();
        let args = [
            self.keys.prefix().as_bytes(),
            self.durable_flag(),
            id.as_bytes(),
            taker.as_bytes(),
            taken_for.as_bytes(),
        ];
        let script = &self.redis.scripts().take_pending;
        let client = &pending.client;
        let bytes = (
            self.keys.pending_bytes_of_client(client),
            self.keys.all_pending_bytes(),
        );
        let keys = [key.as_str(), &of_client, &of_tenant, &bytes.0, &bytes.1];
        let answer = self.link.call(script, &keys, &args, Effect::Writes).await?;
        Ok(reply::of_write::<u64>(answer)? == 1)
    }

    async fn now(&self) -> Result<UnixTime, Error> {
        let answer = self.link.read(&redis::cmd("TIME")).await?;
        let (seconds, _): (i64, i64) = reply::parse(answer)?;
        UnixTime::from_seconds(seconds).ok_or_else(|| Error::unavailable("Redis has no time"))
    }
}
