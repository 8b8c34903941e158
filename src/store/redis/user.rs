//! What spans all rows of a user: read and deleted in batches, so that Redis never blocks for long.

use std::collections::HashSet;

use super::{RedisStore, reply};
use crate::{error::Error, store::DeletedUser, types::UserId};

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
                .pool
                .call(&self.scripts.index_page, &[index], &args)
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

    /// Rows first, the user record last: a call that was interrupted is finished by the next one.
    ///
    /// No row is deleted twice, so that one that is stored anew while this runs stays. The index is
    /// read again until it has no row that wasn't looked at: a row of the older layout may move
    /// under the scan.
    pub(super) async fn delete_user_in_batches(&self, user: &UserId) -> Result<DeletedUser, Error> {
        let mut deleted = DeletedUser::default();
        let (prefix, grace) = (self.keys.prefix().as_bytes(), self.keys.grace());
        let id = user.as_str().as_bytes();

        let index = self.keys.user_index(user);
        let mut seen = HashSet::new();
        loop {
            let (members, foreign) = self.index_members(&index, &self.keys.rows()).await?;
            self.note_foreign(foreign);
            let fresh: Vec<_> = members
                .into_iter()
                .filter(|key| !seen.contains(key))
                .collect();
            if fresh.is_empty() {
                break;
            }
            for batch in fresh.chunks(BATCH) {
                let mut keys = vec![index.as_str(), &grace];
                keys.extend(batch.iter().map(String::as_str));
                let answer = self
                    .pool
                    .call(&self.scripts.delete_rows, &keys, &[prefix, id])
                    .await?;
                deleted.rows += reply::parse::<u64>(answer)?;
            }
            seen.extend(fresh);
        }

        let set = self.keys.user_identities(user);
        let (identities, foreign) = self.index_members(&set, &self.keys.identities()).await?;
        self.note_foreign(foreign);
        let identities: Vec<_> = identities.iter().map(String::as_str).collect();
        for batch in identities.chunks(BATCH) {
            let keys = [&[set.as_str()], batch].concat();
            let answer = self
                .pool
                .call(&self.scripts.delete_identities, &keys, &[id])
                .await?;
            deleted.identities += reply::parse::<u64>(answer)?;
        }

        let mut del = redis::cmd("DEL");
        del.arg(self.keys.user(user));
        let records: u64 = reply::parse(self.pool.write(&del).await?)?;
        deleted.existed = records + deleted.rows + deleted.identities > 0;
        Ok(deleted)
    }
}
