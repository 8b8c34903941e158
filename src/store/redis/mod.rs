//! The Redis backend, in three rooms.
//!
//! - `link/` is the process's way to Redis: one connection (`wire`), which server is the primary
//!   (`topology`), and requests that are sent to it, again where that is safe.
//! - The files here are what one tenant's store does over it: [`keyspace`] names the keys, [`row`] spells
//!   the rows, `scripts/*.lua` change them, one atomic step each. What one tenant holds shares a hash slot,
//!   so that a script may touch all of it.
//! - [`maintenance`] goes through all keys: [`migration`](maintenance::migration) brings in older data,
//!   [`check`](maintenance::check) verifies what is there.

pub mod keyspace;
mod link;
pub mod maintenance;
mod options;
mod probe;
pub mod row;
mod scripts;
mod user;

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use redis::Value;

use self::{
    keyspace::Keyspace,
    link::{
        Effect, Link, reply,
        topology::Topology,
        wire::{Connector, Names},
    },
    scripts::Scripts,
};
pub use self::{
    link::wire::ConnectError,
    options::{Access, Address, Deployment, Durability, Password, RedisOptions, Tls},
};
use super::{Condition, Decoded, DeleteOutcome, DeletedUser, Put, PutOutcome, Store};
use crate::{
    error::Error,
    types::{ProviderName, RowKey, SessionId, Tenant, UserId, Version},
};

/// Keeps one tenant's rows in a Redis.
pub struct RedisStore {
    keys: Keyspace,
    link: Link,
    scripts: Scripts,
    options: RedisOptions,
    foreign_members: AtomicU64,
}

impl RedisStore {
    /// A store that connects in the background. To be made inside of a runtime.
    #[must_use]
    pub fn new(tenant: &Tenant, options: RedisOptions) -> Self {
        let keys = Keyspace::new(tenant);
        let connector = Connector {
            access: options.access.clone(),
            names: Names::Redis,
            connect_timeout: options.connect_timeout,
            timeout: options.timeout,
        };
        let topology = Topology::new(options.deployment.clone(), connector, keys.slot());
        Self {
            keys,
            link: Link::new(topology, &options),
            scripts: Scripts::new(),
            options,
            foreign_members: AtomicU64::new(0),
        }
    }

    /// How many members were found in indexes, since the start, that lie outside of the tenant or
    /// are no rows (I10).
    #[must_use]
    pub fn foreign_members(&self) -> u64 {
        self.foreign_members.load(Ordering::Relaxed)
    }

    /// Whether scripts are to write something in any case, for WAIT to wait for.
    fn durable_flag(&self) -> &'static [u8] {
        if self.is_replicated() { b"1" } else { b"" }
    }

    fn note_foreign(&self, members: u64) {
        if members > 0 {
            self.foreign_members.fetch_add(members, Ordering::Relaxed);
            tracing::warn!(
                members,
                "ignored members of an index that are no rows of this tenant"
            );
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Store for RedisStore {
    const NAME: &'static str = "redis";

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        let json = row::encode(put.row, &put.key.provider, put.version)
            .map_err(|_| Error::store_unavailable("the row can't be written as JSON"))?;
        let row = self.keys.row(put.key);
        let session_index = self.keys.session_index(&put.key.session);
        let grace = self.keys.grace();
        let user_index = put
            .row
            .user_id
            .as_ref()
            .map(|user| self.keys.user_index(user));
        let source = put
            .source
            .map(|(key, version)| (self.keys.row(key), decimal(version)));

        let mut keys = vec![row.as_str(), session_index.as_str(), grace.as_str()];
        keys.extend(user_index.as_deref());
        keys.extend(source.as_ref().map(|(key, _)| key.as_str()));
        let condition = match put.condition {
            Condition::Always => "always".to_owned(),
            Condition::Absent => "absent".to_owned(),
            Condition::Version(version) => decimal(version),
        };
        let answer = self
            .link
            .call(
                &self.scripts.put,
                &keys,
                &[
                    self.keys.prefix().as_bytes(),
                    &json,
                    millis(put.keep_for).to_string().as_bytes(),
                    condition.as_bytes(),
                    source
                        .as_ref()
                        .map_or("", |(_, version)| version)
                        .as_bytes(),
                    put.max_providers.to_string().as_bytes(),
                    if user_index.is_some() { b"1" } else { b"" },
                    decimal(put.version).as_bytes(),
                    self.durable_flag(),
                ],
                match put.condition {
                    // A row that was written, and deleted by somebody else, would come back.
                    Condition::Always | Condition::Absent => Effect::Once,
                    Condition::Version(_) => Effect::Guarded,
                },
            )
            .await?;
        match reply::parse::<String>(answer)?.as_str() {
            "written" => Ok(PutOutcome::Written),
            "exists" => Ok(PutOutcome::Exists),
            "mismatch" => Ok(PutOutcome::VersionMismatch),
            "source" => Ok(PutOutcome::SourceChanged),
            "full" => Ok(PutOutcome::TooManyProviders),
            _ => Err(Error::store_unavailable("put.lua gave no known answer")),
        }
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        let mut get = redis::cmd("GET");
        get.arg(self.keys.row(key));
        let value = match self.link.read(&get).await {
            // The key holds something that is no string.
            Err(Error::RowUnreadable(unreadable)) => return Ok(Some(Err(unreadable))),
            answer => answer?,
        };
        let bytes = reply::bytes(value)?;
        Ok(bytes.and_then(|bytes| row::decode(bytes, &key.provider)))
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let index = self.keys.session_index(session);
        let own = self.keys.session_rows(session);
        let answer = self
            .link
            .call(
                &self.scripts.get_session,
                &[&index],
                &[own.as_bytes()],
                Effect::Reads,
            )
            .await?;
        let mut items = reply::list(answer)?.into_iter();
        let mut foreign: u64 = reply::parse(items.next().unwrap_or(Value::Int(0)))?;

        let mut rows = BTreeMap::new();
        while let (Some(key), Some(bytes)) = (items.next(), items.next()) {
            let key: Vec<u8> = reply::parse(key)?;
            let key = std::str::from_utf8(&key)
                .ok()
                .and_then(|key| self.keys.parse_row(key));
            let Some(RowKey { provider, .. }) = key else {
                foreign += 1;
                continue;
            };
            let bytes = reply::bytes(bytes)?.unwrap_or_default();
            if let Some(decoded) = row::decode(bytes, &provider) {
                rows.insert(provider, decoded);
            }
        }
        self.note_foreign(foreign);
        Ok(rows)
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        let (row, index) = (self.keys.row(key), self.keys.session_index(&key.session));
        let effect = match version {
            Some(_) => Effect::Guarded,
            None => Effect::Once,
        };
        let version = version.map(decimal).unwrap_or_default();
        let keys = [row.as_str(), &index, &self.keys.grace()];
        let (prefix, durable) = (self.keys.prefix().as_bytes(), self.durable_flag());
        let args = [prefix, version.as_bytes(), durable];
        let script = &self.scripts.delete;
        let answer = self.link.call(script, &keys, &args, effect).await?;
        match reply::parse::<String>(answer)?.as_str() {
            "deleted" => Ok(DeleteOutcome::Deleted),
            "absent" => Ok(DeleteOutcome::Absent),
            "mismatch" => Ok(DeleteOutcome::VersionMismatch),
            _ => Err(Error::store_unavailable("delete.lua gave no known answer")),
        }
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        let (index, own) = (
            self.keys.session_index(session),
            self.keys.session_rows(session),
        );
        let keys = [index.as_str(), &self.keys.grace()];
        let (prefix, durable) = (self.keys.prefix().as_bytes(), self.durable_flag());
        let args = [prefix, own.as_bytes(), durable];
        let script = &self.scripts.delete_session;
        reply::parse(self.link.call(script, &keys, &args, Effect::Once).await?)
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedUser, Error> {
        self.delete_user_in_batches(user).await
    }

    async fn user_rows(&self, user: &UserId) -> Result<Vec<RowKey>, Error> {
        let index = self.keys.user_index(user);
        let (members, mut foreign) = self.index_members(&index, &self.keys.rows()).await?;
        let known = members.len() as u64;
        // Rows of the older layout are no rows yet, but not foreign either.
        let rows: Vec<_> = members
            .iter()
            .filter_map(|key| self.keys.parse_row(key))
            .collect();
        let legacy = members
            .iter()
            .filter(|key| self.keys.parse_legacy_row(key).is_some())
            .count();
        foreign += known - rows.len() as u64 - legacy as u64;
        self.note_foreign(foreign);
        Ok(rows)
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let names: Vec<_> = keys.iter().map(|key| self.keys.row(key)).collect();
        let values = self.link.strings(names.iter().map(String::as_str)).await?;
        let rows = values.into_iter().zip(keys);
        let decode = |(bytes, key): (Option<Vec<u8>>, &RowKey)| {
            bytes.and_then(|bytes| row::decode(bytes, &key.provider))
        };
        Ok(rows.map(decode).collect())
    }

    async fn check(&self) -> Result<(), Error> {
        let answer = self.link.read(&redis::cmd("ROLE")).await?;
        let role = reply::list(answer)?
            .into_iter()
            .next()
            .unwrap_or(Value::Nil);
        match reply::parse::<String>(role)?.as_str() {
            "master" if self.link.topology().is_cluster() => {
                // Only a command with a key tells whether the cluster works, for this tenant.
                let mut exists = redis::cmd("EXISTS");
                exists.arg(self.keys.grace());
                self.link.read(&exists).await.map(drop)
            }
            "master" => Ok(()),
            _ => Err(Error::store_unavailable(
                "Redis is a replica, which takes no writes",
            )),
        }
    }
}

fn decimal(version: Version) -> String {
    version.number().to_string()
}

/// A span as scripts take it: 0 for ever, and never less than a millisecond.
fn millis(span: Option<Duration>) -> u64 {
    span.map_or(0, |span| {
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
    })
}
