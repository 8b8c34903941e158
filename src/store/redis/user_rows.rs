//! Reading and deleting the members of a user's index. Both work in batches, so that Redis never blocks for long.

use std::{collections::HashSet, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::Value;
use tokio::time::Instant;

use super::{
    RedisStore,
    index_position::IndexPosition,
    keyspace::Key,
    link::{Effect, reply},
    scripts::{Script, sha1_hex},
    user_position,
};
use crate::{
    store::{DeletedRows, Error, Position, UserRowKeys},
    types::{Lineage, SecretBytes, UserId},
};

/// How many members of an index one script returns when all of them are read.
const PAGE: usize = 1_000;
/// How many keys one script deletes at most. Mostly that takes a millisecond or two of Redis' time.
const BATCH: usize = 128;
/// How many it deletes in any case.
const SMALLEST_BATCH: usize = 16;
/// Where an answer takes longer, because the user's rows share sessions with many others, the next script deletes fewer.
const SLOW: Duration = Duration::from_millis(5);
/// The same as long as scripts have to be told of rows that other software wrote: such rows pass through the script whole.
const TOLD_BATCH: usize = 64;
/// How many scripts that delete are on the way at once: while Redis works on one, the next arrives.
const WINDOW: usize = 2;
/// How often something begins anew because another server answers.
pub(super) const SERVERS: usize = 16;

/// A part of an index.
struct IndexPage {
    lineage: Lineage,
    members: Vec<Key>,
    /// How many members don't count.
    foreign: u64,
    /// Where the rest begins. `None` at the end.
    next: Option<IndexPosition>,
}

/// All members of an index.
struct IndexMembers {
    /// The data that all of them are from.
    lineage: Lineage,
    members: HashSet<Key>,
    /// How many members don't count.
    foreign: u64,
}

/// What became of a batch that was deleted.
struct DeletedBatch {
    count: u64,
    /// The data from which it was deleted.
    lineage: Lineage,
    /// How large the next one may be.
    next_size: usize,
}

/// The error for data that changes its lineage more often than servers fail over.
pub(super) fn unsettled() -> Error {
    Error::unavailable("the servers of Redis keep changing")
}

/// Converts what a script tells of the data that it worked on.
pub(super) fn lineage(told: &[u8]) -> Result<Lineage, Error> {
    let head = u64::from_str_radix(&sha1_hex(told)[..16], 16);
    let known = head.ok().filter(|_| !told.is_empty());
    known
        .map(Lineage::new)
        .ok_or_else(|| Error::unavailable("a script doesn't tell which data it worked on"))
}

/// Converts the answer of a script that deletes: how much it deleted, and in which data.
///
/// # Errors
/// Returns [`Error::Unknown`] for any other answer.
pub(super) fn deleted(answer: Value) -> Result<(u64, Lineage), Error> {
    let (count, told): (u64, Vec<u8>) = reply::of_write(answer)?;
    let lineage = lineage(&told).map_err(|_| reply::odd_outcome())?;
    Ok((count, lineage))
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
        let told: Vec<u8> = reply::parse(items.next().unwrap_or(Value::Nil))?;
        let lineage = lineage(&told)?;
        let next = IndexPosition::read(&mut items)?;
        let mut foreign = reply::parse(items.next().unwrap_or(Value::Int(0)))?;
        let mut members = Vec::with_capacity(items.len());
        for member in items {
            let member = SecretBytes::new(reply::parse(member)?);
            match Key::told(member) {
                Some(member) if member.starts_with(member_prefix) => members.push(member),
                // A member that is too large came as something else.
                _ => foreign += 1,
            }
        }
        Ok(IndexPage {
            lineage,
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
        let indexes = self.keys.user_indexes(user);
        let (number, position) = user_position::read(position, indexes.len());
        let page = self
            .index_page(
                &indexes[number],
                &self.keys.rows(),
                position.as_ref(),
                at_most,
            )
            .await?;
        let mut foreign = page.foreign;
        let mut keys = Vec::with_capacity(page.members.len());
        for member in &page.members {
            match self.keys.parse_row(member) {
                // What no call can name is deleted with the user, but no caller is told of it.
                Some(key) if key.check().is_err() => foreign += 1,
                Some(key) => keys.push(key),
                // Rows of the older layout can't be read yet, but they aren't foreign either.
                None if self.keys.parse_legacy_row(member).is_some() => {}
                None => foreign += 1,
            }
        }
        self.note_foreign(foreign);
        Ok(UserRowKeys {
            keys,
            next: user_position::next(number, page.next.as_ref(), indexes.len()),
        })
    }

    /// Returns the members of an index that begin with `member_prefix`. Each member that exists during the whole call is
    /// found. If another server takes over, this begins anew.
    async fn index_members(&self, index: &str, member_prefix: &str) -> Result<IndexMembers, Error> {
        for _ in 0..SERVERS {
            let mut page = self.index_page(index, member_prefix, None, PAGE).await?;
            let mut all = IndexMembers {
                lineage: page.lineage,
                members: HashSet::new(),
                foreign: 0,
            };
            while page.lineage == all.lineage {
                all.foreign += page.foreign;
                all.members.extend(page.members);
                let Some(next) = page.next else {
                    return Ok(all);
                };
                page = self
                    .index_page(index, member_prefix, Some(&next), PAGE)
                    .await?;
            }
        }
        Err(unsettled())
    }

    /// Returns the members of an index that begin with `member_prefix`, and counts the others.
    pub(super) async fn members(
        &self,
        index: &str,
        member_prefix: &str,
    ) -> Result<HashSet<Key>, Error> {
        let found = self.index_members(index, member_prefix).await?;
        self.note_foreign(found.foreign);
        Ok(found.members)
    }

    /// Deletes the user's rows.
    pub(super) async fn delete_user_rows_in_batches(
        &self,
        user: &UserId,
    ) -> Result<DeletedRows, Error> {
        let (prefix, grace) = (self.keys.prefix().as_bytes(), self.keys.grace());
        let args = [prefix, user.as_str().as_bytes()];
        let script = &self.redis.scripts().delete_rows;
        let is_row = |key: &str| {
            self.keys.parse_row(key).is_some() || self.keys.parse_legacy_row(key).is_some()
        };
        let (rows, indexes) = (self.keys.rows(), self.keys.user_indexes(user));
        let mut all = 0;
        for _ in 0..SERVERS {
            let mut lineages = Vec::with_capacity(indexes.len());
            let mut damaged = None;
            for index in &indexes {
                let deleted = self
                    .delete_members(&rows, is_row, script, &[index, &grace], &args)
                    .await;
                // What the other index has can be found all the same.
                let (count, lineage) = match deleted {
                    Err(error @ Error::WrongType) => {
                        damaged = Some(error);
                        continue;
                    }
                    other => other?,
                };
                all += count;
                lineages.push(lineage);
            }
            if let Some(error) = damaged {
                return Err(error);
            }
            if lineages.windows(2).all(|pair| pair[0] == pair[1]) {
                let lineage = lineages[0];
                return Ok(DeletedRows {
                    count: all,
                    lineage,
                });
            }
        }
        Err(unsettled())
    }

    /// Calls `script` in batches on all members of the index `first_keys[0]` that begin with `member_prefix` and
    /// that `is_own` accepts. Returns how many it deleted, and the data in which none is left. Each call gets
    /// `first_keys` and then the members as its keys. All other members stay in the index (I10).
    ///
    /// No member is deleted twice, so that a row that is stored again meanwhile stays. The index is read
    /// again until all of its members were looked at, because a migration may move rows and copy identities
    /// during the scan. If another server takes over, it may lack what was done before: all that was seen is
    /// forgotten.
    pub(super) async fn delete_members(
        &self,
        member_prefix: &str,
        is_own: impl Fn(&str) -> bool,
        script: &Script,
        first_keys: &[&str],
        args: &[&[u8]],
    ) -> Result<(u64, Lineage), Error> {
        let (mut seen, mut seen_in) = (HashSet::new(), None);
        let (mut count, mut changes) = (0, 0);
        while changes < SERVERS {
            let IndexMembers {
                lineage,
                members,
                mut foreign,
            } = self.index_members(first_keys[0], member_prefix).await?;
            if seen_in.is_some_and(|last| last != lineage) {
                seen.clear();
                changes += 1;
            }
            seen_in = Some(lineage);
            let mut fresh: Vec<_> = members
                .into_iter()
                .filter(|key| !seen.contains(key))
                .collect();
            if fresh.is_empty() {
                return Ok((count, lineage));
            }
            seen.extend(fresh.iter().cloned());
            let all = fresh.len() as u64;
            fresh.retain(|key| is_own(key));
            foreign += all - fresh.len() as u64;
            self.note_foreign(foreign);
            let (mut rest, mut size) = (fresh.as_slice(), TOLD_BATCH);
            let mut in_flight = FuturesUnordered::new();
            let (mut is_other, mut failed) = (false, None);
            loop {
                // After a failure or a change of servers no batch is begun, and those on the way are waited for.
                while !is_other
                    && failed.is_none()
                    && !rest.is_empty()
                    && in_flight.len() < self.batches_at_once()
                {
                    let (batch, later) = rest.split_at(size.min(rest.len()));
                    rest = later;
                    in_flight.push(self.delete_batch(script, first_keys, batch, args));
                }
                let Some(batch) = in_flight.next().await else {
                    break;
                };
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => {
                        failed = failed.or(Some(error));
                        continue;
                    }
                };
                size = batch.next_size;
                count += batch.count;
                if batch.lineage != lineage {
                    seen_in = Some(batch.lineage);
                    is_other = true;
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if is_other {
                seen.clear();
                changes += 1;
            }
        }
        Err(unsettled())
    }

    /// Deletes some members.
    async fn delete_batch(
        &self,
        script: &Script,
        first_keys: &[&str],
        members: &[Key],
        args: &[&[u8]],
    ) -> Result<DeletedBatch, Error> {
        let mut keys = first_keys.to_vec();
        keys.extend(members.iter().map(Key::as_str));
        let begun = Instant::now();
        let (answer, asked) = self.call_counting(script, &keys, args).await?;
        let next_size = match (begun.elapsed() > SLOW, asked) {
            (true, _) => (members.len() / 2).max(SMALLEST_BATCH),
            (false, 0) => (2 * members.len()).clamp(SMALLEST_BATCH, BATCH),
            (false, _) => TOLD_BATCH,
        };
        let (count, lineage) = deleted(answer)?;
        Ok(DeletedBatch {
            count,
            lineage,
            next_size,
        })
    }

    /// How many batches are on the way at once. A write that waits for replicas takes one of the places for such writes,
    /// and a call takes no more than one.
    fn batches_at_once(&self) -> usize {
        if self.link.waits_for_replicas() {
            1
        } else {
            WINDOW
        }
    }
}
