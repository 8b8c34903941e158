//! Reading and deleting the members of a user's index. Both work in batches, so that Redis never blocks for long.

use std::collections::HashSet;

use redis::Value;

use super::{
    RedisStore,
    index_position::IndexPosition,
    link::{Effect, reply},
    scripts::Script,
};
use crate::{
    store::{Error, Position, UserRowKeys},
    types::UserId,
};

/// How many members of an index one script returns when all of them are read.
const PAGE: usize = 500;
/// How many keys one script deletes. That takes a few milliseconds of Redis' time.
const BATCH: usize = 64;
/// How often reading an index begins anew because another server answers.
const SERVERS: usize = 16;

/// A part of an index.
struct IndexPage {
    members: Vec<String>,
    /// How many members don't count.
    foreign: u64,
    /// Where the rest begins. `None` at the end.
    next: Option<IndexPosition>,
}

impl RedisStore {
    /// Returns at most `at_most` members of an index that begin with `member_prefix`, from `position` on.
    async fn index_page(
        &self,
        index: &str,
        member_prefix: &str,
        position: Option<&IndexPosition>,
        at_most: usize,
    ) -> Result<IndexPage, Error> {
        let most = at_most.clamp(1, 1_000).to_string();
        let position = IndexPosition::args(position);
        let mut args = vec![member_prefix.as_bytes(), most.as_bytes()];
        args.extend(position.iter().map(String::as_bytes));
        let script = &self.redis.scripts().index_page;
        let answer = self
            .link
            .call(script, &[index], &args, Effect::Reads)
            .await?;
        let mut items = reply::list(answer)?.into_iter();
        let next = IndexPosition::read(&mut items)?;
        let mut foreign = reply::parse(items.next().unwrap_or(Value::Int(0)))?;
        let mut members = Vec::with_capacity(items.len());
        for member in items {
            match String::from_utf8(reply::parse(member)?) {
                Ok(member) => members.push(member),
                Err(_) => foreign += 1,
            }
        }
        Ok(IndexPage {
            members,
            foreign,
            next,
        })
    }

    /// Returns the keys of some of a user's rows, from `position` on.
    pub(super) async fn user_row_keys(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        let index = self.keys.user_index(user);
        let position = position.and_then(IndexPosition::decode);
        let page = self
            .index_page(&index, &self.keys.rows(), position.as_ref(), at_most)
            .await?;
        let mut foreign = page.foreign;
        let mut keys = Vec::with_capacity(page.members.len());
        for member in &page.members {
            match self.keys.parse_row(member) {
                Some(key) => keys.push(key),
                // Rows of the older layout can't be read yet, but they aren't foreign either.
                None if self.keys.parse_legacy_row(member).is_some() => {}
                None => foreign += 1,
            }
        }
        self.note_foreign(foreign);
        Ok(UserRowKeys {
            keys,
            next: page.next.as_ref().map(IndexPosition::encode),
        })
    }

    /// Returns the members of an index that begin with `member_prefix`, and how many members don't. Each
    /// member that exists during the whole call is found, and none is found twice.
    async fn index_members(
        &self,
        index: &str,
        member_prefix: &str,
    ) -> Result<(HashSet<String>, u64), Error> {
        let (mut members, mut foreign) = (HashSet::new(), 0);
        let (mut position, mut servers) = (None::<IndexPosition>, 0);
        loop {
            let page = self
                .index_page(index, member_prefix, position.as_ref(), PAGE)
                .await?;
            foreign += page.foreign;
            members.extend(page.members);
            let Some(next) = page.next else {
                return Ok((members, foreign));
            };
            if position.is_some_and(|last| !last.is_of_same_server(&next)) {
                servers += 1;
                if servers == SERVERS {
                    return Err(Error::unavailable("the servers of Redis keep changing"));
                }
            }
            position = Some(next);
        }
    }

    /// Deletes the user's rows. Returns how many there were.
    pub(super) async fn delete_user_rows_in_batches(&self, user: &UserId) -> Result<u64, Error> {
        let (prefix, grace) = (self.keys.prefix().as_bytes(), self.keys.grace());
        let index = self.keys.user_index(user);
        let first_keys = [index.as_str(), &grace];
        let args = [prefix, user.as_str().as_bytes()];
        let script = &self.redis.scripts().delete_rows;
        let is_row = |key: &str| {
            self.keys.parse_row(key).is_some() || self.keys.parse_legacy_row(key).is_some()
        };
        self.delete_members(&self.keys.rows(), is_row, script, &first_keys, &args)
            .await
    }

    /// Calls `script` in batches on all members of the index `first_keys[0]` that begin with `member_prefix` and
    /// that `is_own` accepts. Returns how many it deleted. Each call gets `first_keys` and then the members as its
    /// keys. All other members stay in the index (I10).
    ///
    /// No member is deleted twice, so that a row that is stored again meanwhile stays. The index is read
    /// again until all of its members were looked at, because a migration may move rows and copy identities
    /// during the scan.
    pub(super) async fn delete_members(
        &self,
        member_prefix: &str,
        is_own: impl Fn(&str) -> bool,
        script: &Script,
        first_keys: &[&str],
        args: &[&[u8]],
    ) -> Result<u64, Error> {
        let (mut seen, mut deleted) = (HashSet::new(), 0);
        loop {
            let (members, mut foreign) = self.index_members(first_keys[0], member_prefix).await?;
            let mut fresh: Vec<_> = members
                .into_iter()
                .filter(|key| !seen.contains(key))
                .collect();
            if fresh.is_empty() {
                return Ok(deleted);
            }
            seen.extend(fresh.iter().cloned());
            let all = fresh.len() as u64;
            fresh.retain(|key| is_own(key));
            foreign += all - fresh.len() as u64;
            self.note_foreign(foreign);
            for batch in fresh.chunks(BATCH) {
                let mut keys = first_keys.to_vec();
                keys.extend(batch.iter().map(String::as_str));
                let answer = self.call_telling(script, &keys, args).await?;
                deleted += reply::of_write::<u64>(answer)?;
            }
        }
    }
}
