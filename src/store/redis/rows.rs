//! A tenant's rows in Redis. Each method is one atomic step, and most of them call a script.

use std::{collections::BTreeMap, time::Duration};

use super::{RedisStore, keyspace::Key, link::reply, record, row};
use crate::{
    error::Unreadable,
    store::{
        Condition, Decoded, DeleteOutcome, DeletedRows, Error, Position, Put, PutOutcome, Store,
        UserRowKeys,
    },
    types::{ProviderName, RowKey, SecretBytes, SessionId, UserId, Version},
};

impl Store for RedisStore {
    const NAME: &'static str = "redis";

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        let json = row::encode(put.row, &put.key.provider, put.version)
            .map_err(|_| Error::unavailable("the row can't be written as JSON"))?;
        let row = self.keys.row(put.key);
        let session_index = self.keys.session_index(&put.key.session);
        let (grace, record) = (self.keys.grace(), self.keys.record(put.key));
        let token = put.row.refresh_token_hash().map(record::field);
        let user_index = put
            .row
            .user_id
            .as_ref()
            .map(|user| self.keys.user_index(user));
        let source = put
            .source
            .map(|(key, version)| (self.keys.row(key), decimal(version)));

        let mut keys = vec![row.as_str(), &session_index, &grace, &record];
        keys.extend(user_index.as_deref());
        keys.extend(source.as_ref().map(|(key, _)| key.as_str()));
        let condition = match put.condition {
            Condition::Always => "always".to_owned(),
            Condition::Absent => "absent".to_owned(),
            Condition::Version(version) => decimal(version),
        };
        let answer = self
            .call_telling(
                &self.redis.scripts().put,
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
                    put.row
                        .user_id
                        .as_ref()
                        .map_or("", |user| user.as_str())
                        .as_bytes(),
                    decimal(put.version).as_bytes(),
                    self.durable_flag(),
                    token.unwrap_or_default().as_bytes(),
                    if put.row.sealed.is_some() { b"1" } else { b"" },
                ],
            )
            .await?;
        match reply::of_write::<String>(answer)?.as_str() {
            "written" => Ok(PutOutcome::Written),
            "exists" => Ok(PutOutcome::Exists),
            "mismatch" => Ok(PutOutcome::VersionMismatch),
            "source" => Ok(PutOutcome::SourceChanged),
            "full" => Ok(PutOutcome::TooManyProviders),
            "redeemed" => Ok(PutOutcome::Redeemed),
            "grace" => Err(sealed_in_grace()),
            _ => Err(reply::odd_outcome()),
        }
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        let bytes = match self.link.string(&self.keys.row(key)).await {
            Err(Error::WrongType) => {
                return Ok(Some(Err(Unreadable::damaged(
                    "the key holds another type of value",
                ))));
            }
            bytes => bytes?,
        };
        Ok(bytes.and_then(|bytes| row::decode(&bytes, &key.provider)))
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        self.read_session(session).await
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        let (row, index) = (self.keys.row(key), self.keys.session_index(&key.session));
        let version = version.map(decimal).unwrap_or_default();
        let keys = [row.as_str(), &index, &self.keys.grace()];
        let (prefix, durable) = (self.keys.prefix().as_bytes(), self.durable_flag());
        let args = [prefix, version.as_bytes(), durable];
        let script = &self.redis.scripts().delete;
        let answer = self.call_telling(script, &keys, &args).await?;
        match reply::of_write::<String>(answer)?.as_str() {
            "deleted" => Ok(DeleteOutcome::Deleted),
            "absent" => Ok(DeleteOutcome::Absent),
            "mismatch" => Ok(DeleteOutcome::VersionMismatch),
            _ => Err(reply::odd_outcome()),
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
        let script = &self.redis.scripts().delete_session;
        let answer = self.call_telling(script, &keys, &args).await?;
        let (deleted, foreign) = reply::of_write(answer)?;
        self.note_foreign(foreign);
        Ok(deleted)
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        self.delete_user_rows_in_batches(user).await
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        self.user_row_keys(user, position, at_most).await
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let names: Vec<_> = keys.iter().map(|key| self.keys.row(key)).collect();
        let values = self.link.strings(names.iter().map(Key::as_str)).await?;
        let rows = values.into_iter().zip(keys);
        let decode = |(bytes, key): (Option<SecretBytes>, &RowKey)| {
            bytes.and_then(|bytes| row::decode(&bytes, &key.provider))
        };
        Ok(rows.map(decode).collect())
    }
}

fn decimal(version: Version) -> String {
    version.number().to_string()
}

/// Returns the error of a write that was refused because nothing is sealed in the grace period.
pub(super) fn sealed_in_grace() -> Error {
    Error::unavailable(
        "the tenant is in its grace period, in which nothing is sealed: `token-broker migrate --finish` ends it",
    )
}

/// Returns a span as scripts take it, in milliseconds. 0 means for ever, and a real span is at least 1.
pub(super) fn millis(span: Option<Duration>) -> u64 {
    span.map_or(0, |span| {
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
    })
}
