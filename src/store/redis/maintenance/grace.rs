//! The grace period, in which other software may still write to the tenant (guarantees, section 5, M7).

use crate::{
    store::{
        Error,
        redis::{
            RedisStore,
            keyspace::Keyspace,
            link::{Link, reply},
            maintenance::repeated,
        },
    },
    types::{SecretBytes, UnixTime},
};

/// What Redis holds about the grace period, as of one instant.
#[derive(Clone, Debug)]
pub struct Notes {
    /// Whether the mark of the grace period is there, whatever its type.
    pub is_marked: bool,
    /// The record of the last completed migration, as JSON. If it is missing, empty or no string, nobody knows who else
    /// writes.
    pub record: Option<SecretBytes>,
}

impl Notes {
    /// Reads both notes.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn read(link: &Link, keys: &Keyspace) -> Result<Self, Error> {
        let (mark, record) = (keys.grace(), keys.migration());
        let mut values = link.strings([&*mark, &*record]).await?.into_iter();
        let mut is_marked = values.next().flatten().is_some();
        let record = values.next().flatten();
        if !is_marked && record.is_some() {
            // A mark of another type gives no string. It counts for the scripts, and so it does here.
            let exists = redis::cmd("EXISTS").arg(&mark).take();
            is_marked = reply::parse(link.read(&exists).await?)?;
        }
        Ok(Self {
            is_marked,
            record: record.filter(|record| !record.is_empty()),
        })
    }
}

/// Whether other software may write to the tenant, as far as anybody knows. The scripts judge in the same way: what is
/// missing never counts as the end of the grace period.
///
/// # Errors
/// Returns [`Error::Unavailable`].
pub async fn is_open(link: &Link, keys: &Keyspace) -> Result<bool, Error> {
    let notes = Notes::read(link, keys).await?;
    Ok(notes.is_marked || notes.record.is_none())
}

impl RedisStore {
    /// Whether other software may write to the tenant, as far as anybody knows.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`].
    pub async fn is_in_grace(&self) -> Result<bool, Error> {
        is_open(&self.link, &self.keys).await
    }
}

/// Begins the grace period, unless it has begun.
///
/// # Errors
/// Returns [`Error::Unavailable`].
pub async fn begin(link: &Link, keys: &Keyspace) -> Result<(), Error> {
    let mut set = redis::cmd("SET");
    set.arg(keys.grace())
        .arg(UnixTime::now().seconds())
        .arg("NX");
    repeated::write(link, &set).await.map(drop)
}
