//! Users and identities aren't sealed: they are found by what they say, and hold no token.

use super::Sealed;
use crate::{
    error::Damage,
    store::{
        DeletedIdentities, Error, Identities, LinkOutcome, NewIdentity, Resolved, UnlinkOutcome,
    },
    types::{Identity, IdentityKey, UserId, UserRecord},
};

impl<S: Identities> Identities for Sealed<S> {
    async fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> Result<Result<Resolved, Damage>, Error> {
        self.inner.resolve(identity, new).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<Result<UserRecord, Damage>>, Error> {
        self.inner.user(user).await
    }

    async fn link(&self, new: NewIdentity<'_>) -> Result<LinkOutcome, Error> {
        self.inner.link(new).await
    }

    async fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> Result<Option<Result<UserId, Damage>>, Error> {
        self.inner.leads_to(identity).await
    }

    async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<UnlinkOutcome, Error> {
        self.inner.unlink(identity, user).await
    }

    async fn identities(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        self.inner.identities(user).await
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        self.inner.delete_user(user).await
    }
}
