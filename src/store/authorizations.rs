//! The store of pending authorizations.

use std::{future::Future, time::Duration};

use super::Error;
use crate::{
    error::Unopened,
    types::{Nonce, PendingAuthorization, State},
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

/// The outcome of [`Authorizations::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// It is kept.
    Created,
    /// Nothing was written: the state is taken.
    Exists,
    /// Nothing was written: too many of the client or the tenant are pending.
    TooMany,
}
