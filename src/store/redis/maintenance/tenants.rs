//! Which tenants hold data in this Redis. An operator who checks or migrates a tenant without any probably named the
//! wrong one.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::scan::Scan;
use crate::store::{
    Error,
    redis::{RedisStore, keyspace::Keyspace, link::Link},
};

/// How long to look for tenants.
const LONGEST: Duration = Duration::from_secs(5);
/// How many tenants to name.
const MOST: usize = 50;

/// The tenants that hold data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TenantsWithData {
    /// Their names, in order.
    pub names: Vec<String>,
    /// Whether these are all. Otherwise there were too many keys or tenants to go on.
    pub are_all: bool,
}

impl TenantsWithData {
    /// Looks for the tenants in the Redis of `store`, for 5 s at most. At least half of Redis' time is left to others.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn beside(store: &RedisStore) -> Result<Self, Error> {
        with_data(&store.link).await
    }
}

/// Looks for the tenants in the Redis behind `link`.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn with_data(link: &Link) -> Result<TenantsWithData, Error> {
    let end = Instant::now() + LONGEST;
    let mut scan = Scan::new(link, link.server_set().await?, Keyspace::pattern_of_all());
    let mut names = BTreeSet::new();
    let are_all = loop {
        let begun = Instant::now();
        let Some(page) = scan.page().await? else {
            break true;
        };
        names.extend(
            page.iter()
                .filter_map(|key| Keyspace::tenant_with_data(key)),
        );
        if names.len() > MOST || Instant::now() >= end {
            break false;
        }
        sleep(begun.elapsed()).await;
    };
    let names = names.iter().take(MOST).map(ToString::to_string);
    Ok(TenantsWithData {
        names: names.collect(),
        are_all,
    })
}

/// Writes the end of a sentence that begins with "In this Redis".
impl fmt::Display for TenantsWithData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.join(", ");
        match (self.names.is_empty(), self.are_all) {
            (true, true) => f.write_str("no tenant does"),
            (true, false) => f.write_str("too much else is stored to find one that does"),
            (false, true) => write!(f, "these do: {names}"),
            (false, false) => write!(f, "these do, and perhaps others: {names}"),
        }
    }
}
