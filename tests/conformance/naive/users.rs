//! Users and pending authorizations.

use token_broker::{
    error::{Damage, Unopened},
    store::{
        Authorizations, CreateOutcome, DeletedIdentities, Error, Identities, LinkOutcome,
        NewAuthorization, NewIdentity, Resolved, UnlinkOutcome,
    },
    types::{
        Identity, IdentityKey, Nonce, PendingAuthorization, ProviderName, State, UnixTime, UserId,
        UserRecord,
    },
};
use tokio::task::yield_now;

use super::{Flaw, store::NaiveStore};

impl NaiveStore {
    async fn pause(&self) {
        for _ in 0..3 {
            yield_now().await;
        }
    }

    fn key(&self, identity: &IdentityKey) -> IdentityKey {
        let mut key = identity.clone();
        if self.flaw() == Flaw::ForgetsTheProvider {
            key.provider = ProviderName::new("any").unwrap();
        }
        key
    }
}

impl Identities for NaiveStore {
    async fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> Result<Result<Resolved, Damage>, Error> {
        let (inner, key) = (&self.data.others, self.key(identity));
        if self.flaw() == Flaw::ResolvesInTwoSteps && inner.leads_to(&key).await?.is_none() {
            self.pause().await;
            inner.unlink(&key, None).await?;
        }
        inner.resolve(&key, new).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<Result<UserRecord, Damage>>, Error> {
        self.data.others.user(user).await
    }

    async fn link(&self, new: NewIdentity<'_>) -> Result<LinkOutcome, Error> {
        let key = &self.key(new.key);
        if self.flaw() == Flaw::LinksAnyIdentity {
            self.data.others.unlink(key, None).await?;
        }
        self.data.others.link(NewIdentity { key, ..new }).await
    }

    async fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> Result<Option<Result<UserId, Damage>>, Error> {
        self.data.others.leads_to(&self.key(identity)).await
    }

    async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<UnlinkOutcome, Error> {
        self.data.others.unlink(&self.key(identity), user).await
    }

    async fn identities(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        self.data.others.identities(user).await
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        if self.flaw() == Flaw::KeepsIdentities {
            return Ok(DeletedIdentities::default());
        }
        self.data.others.delete_user(user).await
    }
}

impl Authorizations for NaiveStore {
    async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, Error> {
        let inner = &self.data.others;
        if self.flaw() == Flaw::CreatesOverAnother
            && let Some(Ok(other)) = inner.pending(new.state).await?
        {
            // Whoever reads it from now on gets the new one's content.
            inner.take(new.state, &other, Nonce::random()).await?;
            return Ok(CreateOutcome::Created);
        }
        inner.create(new).await
    }

    async fn pending(
        &self,
        state: &State,
    ) -> Result<Option<Result<PendingAuthorization, Unopened>>, Error> {
        self.data.others.pending(state).await
    }

    async fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> Result<bool, Error> {
        match self.flaw() {
            Flaw::TakesInTwoSteps => {
                self.pause().await;
                self.data.others.take(state, pending, taker).await?;
                Ok(true)
            }
            Flaw::TakesNothing => Ok(true),
            _ => self.data.others.take(state, pending, taker).await,
        }
    }

    async fn now(&self) -> Result<UnixTime, Error> {
        self.data.others.now().await
    }
}
