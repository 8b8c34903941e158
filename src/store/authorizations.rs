//! The store of pending authorizations.

use std::{future::Future, time::Duration};

use super::Error;
use crate::{
    error::Unopened,
    types::{Nonce, PendingAuthorization, State, UnixTime},
};

/// How long after it was taken a state stays taken, at most: so long nobody can create it again.
pub(crate) const TAKEN_FOR: Duration = Duration::from_secs(60);

/// A store of pending authorizations, which are found by their state.
pub trait Authorizations: Send + Sync + 'static {
    /// Keeps a pending authorization, unless its state is taken. If this state has this very one already, this write has been
    /// done before.
    ///
    /// # Errors
    /// Returns an [`Error`], as every other method does.
    fn create(
        &self,
        new: NewAuthorization<'_>,
    ) -> impl Future<Output = Result<CreateOutcome, Error>> + Send;

    /// Returns what is pending under a state. What other software keeps there is none.
    fn pending(
        &self,
        state: &State,
    ) -> impl Future<Output = Result<Option<Result<PendingAuthorization, Unopened>>, Error>> + Send;

    /// Takes the authorization `id` out, for `taker`: of all takers one gets it. A taker that got it gets it again, so that
    /// one whose answer was lost can call again, for a minute.
    ///
    /// Returns whether `taker` has it.
    fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Returns the time by the store's clock, by which authorizations expire. Brokers' own clocks may differ from each other.
    fn now(&self) -> impl Future<Output = Result<UnixTime, Error>> + Send;
}

/// A pending authorization that is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewAuthorization<'a> {
    /// Its state.
    pub state: &'a State,
    /// The authorization.
    pub pending: &'a PendingAuthorization,
    /// How long it is kept.
    pub keep_for: Duration,
    /// How many may wait.
    pub limits: PendingLimits,
}

/// How many authorizations may be pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingLimits {
    /// For one OAuth client.
    pub of_client: usize,
    /// For the tenant.
    pub of_tenant: usize,
}

/// How many bytes as many authorizations may take as may be pending, each. That is about one with a payload of 1 KiB.
const BYTES_OF_EACH: u64 = 2 * 1024;
/// How many bytes may be pending in any case, however few authorizations: several of the largest have room.
const BYTES_AT_LEAST: u64 = 1024 * 1024;

/// One of the bounds on what is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingLimit {
    /// How many of one OAuth client.
    OfClient,
    /// How many of the tenant.
    OfTenant,
    /// How many bytes those of one OAuth client take.
    BytesOfClient,
    /// How many bytes those of the tenant take.
    BytesOfTenant,
}

impl PendingLimit {
    /// All bounds.
    pub const ALL: [Self; 4] = [
        Self::OfClient,
        Self::OfTenant,
        Self::BytesOfClient,
        Self::BytesOfTenant,
    ];
}

impl PendingLimits {
    /// Returns a bound, in authorizations or bytes. The bytes follow from the numbers: 2 KiB for each authorization, and 1 MiB
    /// at least.
    #[must_use]
    pub fn of(self, limit: PendingLimit) -> u64 {
        let bytes = |count: usize| {
            (count as u64)
                .saturating_mul(BYTES_OF_EACH)
                .max(BYTES_AT_LEAST)
        };
        match limit {
            PendingLimit::OfClient => self.of_client as u64,
            PendingLimit::OfTenant => self.of_tenant as u64,
            PendingLimit::BytesOfClient => bytes(self.of_client),
            PendingLimit::BytesOfTenant => bytes(self.of_tenant),
        }
    }
}

/// The outcome of [`Authorizations::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// It is kept.
    Created,
    /// Nothing was written: the state is taken.
    Exists,
    /// Nothing was written: as many or as much is pending as this bound allows.
    TooMany(PendingLimit),
}
