//! The expiry of users' indexes, which changes when the grace period begins or ends.

use super::Migration;
use crate::store::{
    Error,
    redis::{
        link::{Effect, reply, topology::ServerSet},
        maintenance::{repeated, rounds::Rounds, scan::Scan},
        scripts::Call,
    },
};

/// The expiry that users' indexes are to have. Writes that begin after the grace period has begun or ended keep to it.
#[derive(Clone, Copy, Debug)]
pub enum Expiry {
    /// None, because the grace period is open.
    None,
    /// That of the longest row.
    OfRows,
}

impl Expiry {
    /// Whether an index may have another one, given its PTTL.
    fn is_missing(self, left: i64) -> bool {
        match self {
            Self::None => left >= 0,
            Self::OfRows => left == -1,
        }
    }
}

impl Migration {
    /// Gives all users' indexes the expiry that they are to have.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(super) async fn settle_indexes(&self, expiry: Expiry) -> Result<(), Error> {
        let mut rounds = Rounds::new(&self.link);
        loop {
            let server_set = rounds.begin().await?;
            let outcome = self.settle_indexes_on(server_set, expiry).await;
            if rounds.end(outcome).await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn settle_indexes_on(&self, server_set: ServerSet, expiry: Expiry) -> Result<(), Error> {
        let mut scan = Scan::new(&self.link, server_set, self.keys.user_index_pattern());
        while let Some(page) = scan.page().await? {
            let indexes = page.iter().filter_map(|key| str::from_utf8(key).ok());
            self.settle_these_indexes(indexes, expiry).await?;
        }
        Ok(())
    }

    /// Gives these indexes the expiry that they are to have. Mostly few have another one. To look costs Redis a tenth of
    /// what the script costs, which looks again.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(super) async fn settle_these_indexes(
        &self,
        indexes: impl Iterator<Item = &str>,
        expiry: Expiry,
    ) -> Result<(), Error> {
        let indexes: Vec<_> = indexes.collect();
        let looks = indexes.iter().map(|index| {
            let mut look = redis::cmd("PTTL");
            look.arg(index);
            look
        });
        let left = self.link.read_each(looks.collect()).await?;
        let grace = self.keys.grace();
        let mut calls = Vec::new();
        for (index, left) in indexes.into_iter().zip(left) {
            if expiry.is_missing(reply::parse(left)?) {
                calls.push(Call {
                    script: &self.scripts.settle_index,
                    keys: vec![index, &grace],
                    args: vec![self.keys.prefix().as_bytes()],
                });
            }
        }
        repeated::call_each(&self.link, &calls, Effect::Writes).await?;
        Ok(())
    }
}
