//! What goes through all members of a user's index: read and deleted in batches, so that Redis never blocks for
//! long.

use std::collections::HashSet;

use super::{
    RedisStore,
    link::{Effect, reply},
    scripts::Script,
};
use crate::{store::Error, types::UserId};

/// Members of an index that one script looks at.
const PAGE: &[u8] = b"500";
/// Rows that one script deletes: a few milliseconds of Redis' time.
const BATCH: usize = 64;

impl RedisStore {
    /// The members of an index that begin with `own`, and how many don't. A member that is there
    /// all the time is found, and none twice.
    pub(super) async fn index_members(
        &self,
        index: &str,
        own: &str,
    ) -> Result<(HashSet<String>, u64), Error> {
        let (mut members, mut foreign) = (HashSet::new(), 0);
        let mut cursor = b"0".to_vec();
        loop {
            let args = [own.as_bytes(), &cursor, PAGE];
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

    /// Deletes the user's rows.
    pub(super) async fn delete_user_rows_in_batches(&self, user: &UserId) -> Result<u64, Error> {
        let (prefix, grace) = (self.keys.prefix().as_bytes(), self.keys.grace());
        let index = self.keys.user_index(user);
        let heads = [index.as_str(), &grace];
        let args = [prefix, user.as_str().as_bytes()];
        let script = &self.redis.scripts().delete_rows;
        self.delete_members(&self.keys.rows(), script, &heads, &args)
            .await
    }

    /// Calls `script` on all members of the index `heads[0]` that begin with `own`, in batches;
    /// answers how many it deleted.
    ///
    /// None is deleted twice, so that one that is stored anew while this runs stays. The index is
    /// read again until it has no member that wasn't looked at: a migration may move rows, and copy
    /// identities, under the scan.
    pub(super) async fn delete_members(
        &self,
        own: &str,
        script: &Script,
        heads: &[&str],
        args: &[&[u8]],
    ) -> Result<u64, Error> {
        let (mut seen, mut deleted) = (HashSet::new(), 0);
        loop {
            let (members, foreign) = self.index_members(heads[0], own).await?;
            self.note_foreign(foreign);
            let fresh: Vec<_> = members
                .into_iter()
                .filter(|key| !seen.contains(key))
                .collect();
            if fresh.is_empty() {
                return Ok(deleted);
            }
            for batch in fresh.chunks(BATCH) {
                let mut keys = heads.to_vec();
                keys.extend(batch.iter().map(String::as_str));
                let answer = self.link.call(script, &keys, args, Effect::Writes).await?;
                deleted += reply::parse::<u64>(answer)?;
            }
            seen.extend(fresh);
        }
    }
}
