//! The calls about users and identities are counted and measured, too.

use std::pin::pin;

use super::{Observed, Observer, Operation};
use crate::{
    error::Damage,
    store::{
        DeletedIdentities, Error, Identities, LinkOutcome, NewIdentity, Resolved, UnlinkOutcome,
    },
    types::{Identity, IdentityKey, UserId, UserRecord},
};

impl<S: Identities, O: Observer> Identities for Observed<S, O> {
    async fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> Result<Result<Resolved, Damage>, Error> {
        let call = pin!(self.inner.resolve(identity, new));
        self.observe(Operation::Resolve, call).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<Result<UserRecord, Damage>>, Error> {
        let call = pin!(self.inner.user(user));
        self.observe(Operation::User, call).await
    }

    async fn link(&self, new: NewIdentity<'_>) -> Result<LinkOutcome, Error> {
        let call = pin!(self.inner.link(new));
        self.observe(Operation::Link, call).await
    }

    async fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> Result<Option<Result<UserId, Damage>>, Error> {
        let call = pin!(self.inner.leads_to(identity));
        self.observe(Operation::LeadsTo, call).await
    }

    async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<UnlinkOutcome, Error> {
        let call = pin!(self.inner.unlink(identity, user));
        self.observe(Operation::Unlink, call).await
    }

    async fn identities(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        let call = pin!(self.inner.identities(user));
        self.observe(Operation::Identities, call).await
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        let call = pin!(self.inner.delete_user(user));
        self.observe(Operation::DeleteUser, call).await
    }
}
