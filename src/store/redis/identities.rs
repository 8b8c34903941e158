//! A tenant's users and identities, in toolhive's layout (guarantees, section 3). Each method is one atomic step, except
//! [`Identities::identities`] and [`Identities::delete_user`].

use std::collections::HashSet;

use redis::Value;

use super::{
    RedisStore,
    keyspace::Key,
    link::{Effect, reply},
    maintenance::migration,
    scripts::Script,
    user::{self, StoredUser},
    user_rows::{SERVERS, deleted, unsettled},
};
use crate::{
    error::Damage,
    store::{
        DeletedIdentities, Error, Identities, LinkOutcome, NewIdentity, Resolved, USED_WITHIN,
        UnlinkOutcome,
    },
    types::{Identity, IdentityKey, ProviderName, UserId, UserRecord},
};

/// How often a call copies an identity of the older layout and tries again. Older software has to come between each time.
const COPIES: usize = 4;
/// How many identities are read at once.
const BATCH: usize = 64;

/// What a script says of an identity.
enum Answer {
    Word(String),
    Named(UserId),
}

impl Identities for RedisStore {
    async fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> Result<Result<Resolved, Damage>, Error> {
        let (key, older) = (self.identity(identity), self.older(identity));
        let (record, set) = (self.keys.user(new), self.keys.user_identities(new));
        let keys = [key.as_str(), &record, &set];
        let (user, link) = (
            user::record_until_time(new),
            user::link_until_time(identity, new),
        );
        let used_within = USED_WITHIN.as_secs().to_string();
        let args = [
            self.keys.prefix().as_bytes(),
            self.durable_flag(),
            user.as_bytes(),
            link.as_bytes(),
            used_within.as_bytes(),
        ];
        let script = &self.redis.scripts().resolve_user;
        for _ in 0..COPIES {
            let answer = self.ask_identity(script, &keys, older.as_deref(), &args);
            match answer.await? {
                Answer::Named(user) => {
                    return Ok(Ok(Resolved {
                        user,
                        created: false,
                    }));
                }
                Answer::Word(word) => match word.as_str() {
                    "created" => {
                        return Ok(Ok(Resolved {
                            user: new.clone(),
                            created: true,
                        }));
                    }
                    "unreadable" => return Ok(Err(unreadable())),
                    "older" => {
                        if let Err(damage) = migration::copy_identity(self, identity).await? {
                            return Ok(Err(damage));
                        }
                    }
                    _ => return Err(reply::odd_outcome()),
                },
            }
        }
        Err(Error::unavailable(
            "other software keeps changing an identity",
        ))
    }

    async fn user(&self, user: &UserId) -> Result<Option<Result<UserRecord, Damage>>, Error> {
        for (number, key) in self.keys.user_records(user).iter().enumerate() {
            let mut get = redis::cmd("GET");
            get.arg(key);
            let value = match self.link.read(&get).await {
                // What has another type under the second spelling is another user's.
                Err(Error::WrongType) if number > 0 => continue,
                Err(Error::WrongType) => {
                    let what = "the user's key holds another type of value";
                    return Ok(Some(Err(Damage(what.to_owned()))));
                }
                answer => answer?,
            };
            if let Some(bytes) = reply::bytes(value)? {
                return Ok(Some(StoredUser::decode(&bytes, user)));
            }
        }
        Ok(None)
    }

    async fn link(&self, new: NewIdentity<'_>) -> Result<LinkOutcome, Error> {
        let (key, older) = (self.identity(new.key), self.older(new.key));
        let record = self.keys.user(new.user);
        let set = self.keys.user_identities(new.user);
        let keys = [key.as_str(), &record, &set];
        let link = user::link_until_time(new.key, new.user);
        let max = new.max.to_string();
        let layout = self.older_layout();
        let names = layout.pairs().filter(|(from, to)| *from != to.as_str());
        let names: String = names.map(|(from, _)| format!("{from} ")).collect();
        let args = [
            self.keys.prefix().as_bytes(),
            self.durable_flag(),
            new.user.as_str().as_bytes(),
            link.as_bytes(),
            max.as_bytes(),
            names.as_bytes(),
        ];
        let script = &self.redis.scripts().link_identity;
        let answer = self.ask_identity(script, &keys, older.as_deref(), &args);
        let Answer::Word(word) = answer.await? else {
            return Err(reply::odd_outcome());
        };
        match word.as_str() {
            "linked" => Ok(LinkOutcome::Linked),
            "before" => Ok(LinkOutcome::LinkedBefore),
            "other" => Ok(LinkOutcome::LinkedToOther),
            "no_user" => Ok(LinkOutcome::NoUser),
            "full" => Ok(LinkOutcome::TooMany),
            "unreadable" => Ok(LinkOutcome::Unreadable(unreadable())),
            _ => Err(reply::odd_outcome()),
        }
    }

    async fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> Result<Option<Result<UserId, Damage>>, Error> {
        match self.call_unlink(identity, None, true).await? {
            Answer::Named(user) => Ok(Some(Ok(user))),
            Answer::Word(word) => match word.as_str() {
                "absent" => Ok(None),
                "unreadable" => Ok(Some(Err(unreadable()))),
                _ => Err(reply::odd_outcome()),
            },
        }
    }

    async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<UnlinkOutcome, Error> {
        match self.call_unlink(identity, user, false).await? {
            Answer::Named(user) => Ok(UnlinkOutcome::Unlinked(user)),
            Answer::Word(word) => match word.as_str() {
                "absent" => Ok(UnlinkOutcome::Absent),
                "unreadable" => Ok(UnlinkOutcome::Unreadable(unreadable())),
                _ => Err(reply::odd_outcome()),
            },
        }
    }

    /// Reads the user's set, and then the identities in it. One that is linked or removed meanwhile is there or not.
    async fn identities(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        let mut members = HashSet::new();
        for set in self.keys.user_identity_sets(user) {
            members.extend(self.members(&set, &self.keys.identities()).await?);
        }
        let older = self.older_layout();
        let is_older = |provider: &ProviderName| {
            let mut types = older.pairs();
            types.any(|(from, to)| from == provider.as_str() && to != provider)
        };
        let mut keys: Vec<_> = members
            .iter()
            .filter_map(|member| Some((member, self.keys.parse_identity(member)?)))
            .filter(|(_, key)| !is_older(&key.provider) && key.check().is_ok())
            .collect();
        keys.sort_by(|(_, a), (_, b)| a.cmp(b));
        let mut found = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let mut get = redis::cmd("MGET");
            for (member, _) in batch {
                get.arg(member);
            }
            let values = reply::list(self.link.read(&get).await?)?;
            for ((_, key), value) in batch.iter().zip(values) {
                let bytes = reply::bytes(value)?;
                let identity = bytes.and_then(|bytes| user::decode_identity(&bytes, key));
                found.extend(identity.filter(|identity| identity.user == *user));
            }
        }
        Ok(found)
    }

    /// If another server takes over, this begins anew.
    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        let scripts = self.redis.scripts();
        let sets = self.keys.user_identity_sets(user);
        let (own, id) = (self.keys.identities(), user.as_str().as_bytes());
        let records = self.keys.user_records(user);
        let records: Vec<_> = records.iter().map(Key::as_str).collect();
        let args = [self.keys.prefix().as_bytes(), self.durable_flag()];
        let mut all = DeletedIdentities::default();
        for _ in 0..SERVERS {
            let answer = self
                .link
                .call(&scripts.delete_user, &records, &args, Effect::Writes)
                .await?;
            let (count, lineage) = deleted(answer)?;
            all.record |= count > 0;
            let (mut is_same, mut damaged) = (true, None);
            for set in &sets {
                let identities = self
                    .delete_members(&own, |_| true, &scripts.delete_identities, &[set], &[id])
                    .await;
                // What the other set has can be found all the same.
                let (count, deleted_in) = match identities {
                    Err(error @ Error::WrongType) => {
                        damaged = Some(error);
                        continue;
                    }
                    other => other?,
                };
                all.count += count;
                is_same &= deleted_in == lineage;
            }
            if let Some(error) = damaged {
                return Err(error);
            }
            if is_same {
                all.lineage = lineage;
                return Ok(all);
            }
        }
        Err(unsettled())
    }
}

impl RedisStore {
    fn identity(&self, identity: &IdentityKey) -> Key {
        self.keys
            .identity(identity.provider.as_str(), identity.subject.as_str())
    }

    /// Returns the key that the older layout has for an identity, if its provider had a protocol type for a name there.
    fn older(&self, identity: &IdentityKey) -> Option<Key> {
        let older = self.older_layout();
        let (protocol, _) = older
            .pairs()
            .find(|(from, to)| **to == identity.provider && *from != to.as_str())?;
        Some(self.keys.identity(protocol, identity.subject.as_str()))
    }

    async fn call_unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
        only_look: bool,
    ) -> Result<Answer, Error> {
        let (key, older) = (self.identity(identity), self.older(identity));
        let args = [
            self.keys.prefix().as_bytes(),
            self.durable_flag(),
            user.map_or("", UserId::as_str).as_bytes(),
            if only_look { b"1" } else { b"" },
        ];
        let script = &self.redis.scripts().unlink_identity;
        self.ask_identity(script, &[&key], older.as_deref(), &args)
            .await
    }

    async fn ask_identity(
        &self,
        script: &Script,
        keys: &[&str],
        older: Option<&str>,
        args: &[&[u8]],
    ) -> Result<Answer, Error> {
        let keys: Vec<_> = keys.iter().copied().chain(older).collect();
        match self.call_telling(script, &keys, args).await? {
            Value::Array(items) => {
                let [_, user]: [Value; 2] = items.try_into().map_err(|_| reply::odd_outcome())?;
                // A user whom no call can name would be refused by every other one.
                let user = UserId::new(reply::of_write::<String>(user)?);
                Ok(user.map_or_else(|_| Answer::Word("unreadable".to_owned()), Answer::Named))
            }
            word => reply::of_write(word).map(Answer::Word),
        }
    }
}

fn unreadable() -> Damage {
    Damage("an identity can't be read".to_owned())
}
