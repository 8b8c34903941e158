//! The calls about pending authorizations are counted and measured, too.

use std::pin::pin;

use super::{Observed, Observer, Operation};
use crate::{
    error::Unopened,
    store::{Authorizations, CreateOutcome, Error, NewAuthorization},
    types::{Nonce, PendingAuthorization, State, UnixTime},
};

impl<S: Authorizations, O: Observer> Authorizations for Observed<S, O> {
    async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, Error> {
        let call = pin!(self.inner.create(new));
        self.observe(Operation::Create, call).await
    }

    async fn pending(
        &self,
        state: &State,
    ) -> Result<Option<Result<PendingAuthorization, Unopened>>, Error> {
        let call = pin!(self.inner.pending(state));
        self.observe(Operation::Pending, call).await
    }

    async fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> Result<bool, Error> {
        let call = pin!(self.inner.take(state, pending, taker));
        self.observe(Operation::Take, call).await
    }

    /// What this is for is counted itself.
    async fn now(&self) -> Result<UnixTime, Error> {
        self.inner.now().await
    }
}
