//! The grace period, in which other software may still write to the tenant (guarantees, section 5, M7).

use crate::{
    store::{
        Error,
        redis::{
            keyspace::Keyspace,
            link::{Link, reply},
            maintenance::repeated,
        },
    },
    types::UnixTime,
};

/// Whether the tenant is in its grace period.
///
/// # Errors
/// Returns [`Error::Unavailable`], as for the other functions.
pub async fn is_open(link: &Link, keys: &Keyspace) -> Result<bool, Error> {
    let mut exists = redis::cmd("EXISTS");
    exists.arg(keys.grace());
    reply::parse(link.read(&exists).await?)
}

/// Begins the grace period, unless it has begun.
pub async fn begin(link: &Link, keys: &Keyspace) -> Result<(), Error> {
    let mut set = redis::cmd("SET");
    set.arg(keys.grace())
        .arg(UnixTime::now().seconds())
        .arg("NX");
    repeated::write(link, &set).await.map(drop)
}
