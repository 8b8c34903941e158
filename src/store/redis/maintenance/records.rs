//! Going through the records of refresh tokens.

use std::collections::HashSet;

use super::{rounds::Rounds, scan::Scan};
use crate::{
    store::{Error, redis::RedisStore},
    types::{ProviderName, RowKey},
};

/// Returns the rows of a provider that have a record. If servers change meanwhile, looks again.
///
/// # Errors
/// Returns [`Error::Unavailable`].
pub async fn rows_with_records(
    store: &RedisStore,
    provider: &ProviderName,
) -> Result<HashSet<RowKey>, Error> {
    let mut found = HashSet::new();
    let mut rounds = Rounds::new(&store.link);
    loop {
        let server_set = rounds.begin().await?;
        let mut scan = Scan::new(&store.link, server_set, store.keys.record_pattern());
        let looking = async {
            while let Some(keys) = scan.page().await? {
                let keys = keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
                let rows = keys.filter_map(|key| store.keys.parse_record(key));
                found.extend(rows.filter(|row| row.provider == *provider));
            }
            Ok(())
        };
        let outcome = looking.await;
        if rounds.end(outcome).await?.is_some() {
            return Ok(found);
        }
    }
}
