//! Reading and deleting all members of a user's index. Both work in batches, so that Redis never blocks for
//! long.

use std::collections::HashSet;

use super::{
    RedisStore,
    link::{Effect, reply},
    scripts::Script,
};
use crate::{store::Error, types::UserId};

/// About how many members of an index one script looks at.
const PAGE: &[u8] = b"500";
/// How many keys one script deletes. That takes a few milliseconds of Redis' time.
const BATCH: usize = 64;

impl RedisStore {
    /// Returns the members of an index that begin with `member_prefix`, and how many members don't. Each
    /// member that exists during the whole call is found, and none is found twice.
    pub(super) async fn index_members(
        &self,
        index: &str,
        member_prefix: &str,
    ) -> Result<(HashSet<String>, u64), Error> {
        let (mut members, mut foreign) = (HashSet::new(), 0);
        let mut cursor = b"0".to_vec();
        loop {
            let args = [member_prefix.as_bytes(), &cursor, PAGE];
            let page = self
                .link
                .call(
                    &self.redis.scripts().index_page,
                    &[index],
                    &args,
                    Effect::Reads,
                )
                .await?;
            let mut page = reply::list(page)?.into_iter();
            cursor = page
                .next()
                .map(reply::parse)
                .transpose()?
                .unwrap_or_else(|| b"0".to_vec());
            foreign += page
                .next()
                .map(reply::parse::<u64>)
                .transpose()?
                .unwrap_or(0);
            for member in page {
                match String::from_utf8(reply::parse(member)?) {
                    Ok(member) => _ = members.insert(member),
                    Err(_) => foreign += 1,
                }
            }
            if cursor == b"0" {
                return Ok((members, foreign));
            }
        }
    }

    /// Deletes the user's rows. Returns how many there were.
    pub(super) async fn delete_user_rows_in_batches(&self, user: &UserId) -> Result<u64, Error> {
        let (prefix, grace) = (self.keys.prefix().as_bytes(), self.keys.grace());
        let index = self.keys.user_index(user);
        let first_keys = [index.as_str(), &grace];
        let args = [prefix, user.as_str().as_bytes()];
        let script = &self.redis.scripts().delete_rows;
        self.delete_members(&self.keys.rows(), script, &first_keys, &args)
            .await
    }

    /// Calls `script` in batches on all members of the index `first_keys[0]` that begin with `member_prefix`.
    /// Returns how many it deleted. Each call gets `first_keys` and then the members as its keys.
    ///
    /// No member is deleted twice, so that a row that is stored again meanwhile stays. The index is read
    /// again until all of its members were looked at, because a migration may move rows and copy identities
    /// during the scan.
    pub(super) async fn delete_members(
        &self,
        member_prefix: &str,
        script: &Script,
        first_keys: &[&str],
        args: &[&[u8]],
    ) -> Result<u64, Error> {
        let (mut seen, mut deleted) = (HashSet::new(), 0);
        loop {
            let (members, foreign) = self.index_members(first_keys[0], member_prefix).await?;
            self.note_foreign(foreign);
            let fresh: Vec<_> = members
                .into_iter()
                .filter(|key| !seen.contains(key))
                .collect();
            if fresh.is_empty() {
                return Ok(deleted);
            }
            for batch in fresh.chunks(BATCH) {
                let mut keys = first_keys.to_vec();
                keys.extend(batch.iter().map(String::as_str));
                let answer = self.link.call(script, &keys, args, Effect::Writes).await?;
                deleted += reply::parse::<u64>(answer)?;
            }
            seen.extend(fresh);
        }
    }
}
