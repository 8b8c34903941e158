//! Who a user is: what the broker does with users and their identities (guarantees, section 2.3).
//!
//! As [`tokens`](crate::tokens) does, this module says what the outcomes of the store mean, and knows neither gRPC nor Redis.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    error::Error,
    store::{Identities, LinkOutcome, NewIdentity, Resolved, UnlinkOutcome, until_known},
    types::{Identity, IdentityKey, Reach, TypeNames, UserId, UserRecord, lock},
};

/// The users of one tenant, with the operations of the `Identities` service.
#[derive(Debug)]
pub struct Users<S> {
    store: Arc<S>,
    options: UserOptions,
    type_names: TypeNames,
}

/// What became of an identity that was to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Whether it is gone by this call, as far as that is known.
    pub unlinked: bool,
    /// The user that it led to, if that is known.
    pub user: Option<UserId>,
}

/// The settings of [`Users`].
#[derive(Clone, Copy, Debug)]
pub struct UserOptions {
    /// How many identities one user may have.
    pub max_identities: usize,
    /// How long a call tries to find out what became of a write whose answer was lost.
    pub patience: Duration,
}

impl<S: Identities> Users<S> {
    /// Returns the users that `store` keeps.
    pub fn new(store: Arc<S>, options: UserOptions) -> Self {
        Self {
            store,
            options,
            type_names: TypeNames::default(),
        }
    }

    /// Sets which protocol types providers may have for a name.
    #[must_use]
    pub fn naming(self, type_names: TypeNames) -> Self {
        Self { type_names, ..self }
    }

    /// Returns the user that an identity leads to. Makes one if there is none.
    ///
    /// # Errors
    /// Returns [`Error::RecordUnreadable`] if the identity can't be decoded, and an error if the store fails. A store that
    /// fails never causes a second user.
    pub async fn resolve(&self, identity: &IdentityKey) -> Result<Resolved, Error> {
        Error::check_name(&identity.provider, self.type_names)?;
        // Each attempt draws another id. If one was applied, a later one finds its user, unless that was deleted meanwhile:
        // then the id must not come back.
        let drawn = Mutex::new(Vec::new());
        let attempt = || {
            let new = UserId::random();
            let mut drawn = lock(&drawn);
            drawn.push(new.clone());
            async move { self.store.resolve(identity, &new).await }
        };
        // Whatever a later attempt answers, it is what the call was for.
        let resolved = until_known(self.options.patience, attempt(), attempt, |_| true).await?;
        let Resolved { user, created } = resolved.map_err(Error::RecordUnreadable)?;
        let drawn = drawn.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Resolved {
            created: created || drawn.contains(&user),
            user,
        })
    }

    /// Returns what is known of a user.
    ///
    /// # Errors
    /// Returns [`Error::UserNotFound`] or [`Error::RecordUnreadable`].
    pub async fn get(&self, user: &UserId) -> Result<UserRecord, Error> {
        let found = self.store.user(user).await?.ok_or(Error::UserNotFound)?;
        found.map_err(Error::RecordUnreadable)
    }

    /// Links an identity to a user. Returns whether it wasn't before.
    ///
    /// # Errors
    /// Returns [`Error::UserNotFound`], [`Error::IdentityLinked`], [`Error::TooManyIdentities`],
    /// [`Error::RecordUnreadable`], and [`Error::OutcomeUnknown`] if the answer was lost, and the identity doesn't lead to
    /// the user.
    pub async fn link(&self, identity: &IdentityKey, user: &UserId) -> Result<bool, Error> {
        Error::check_name(&identity.provider, self.type_names)?;
        let max = self.options.max_identities;
        let link = self.store.link(NewIdentity {
            key: identity,
            user,
            max,
        });
        // Linking again could undo that somebody removed the identity since.
        let look = || async {
            let found = self.store.leads_to(identity).await?;
            Ok(found.and_then(Result::ok).as_ref() == Some(user))
        };
        let link = async { link.await.map(Seen::Outcome) };
        let look = || async { look().await.map(Seen::IsSo) };
        let is_so = |seen: &Seen<LinkOutcome>| matches!(seen, Seen::IsSo(true));
        match until_known(self.options.patience, link, look, is_so).await? {
            Seen::Outcome(LinkOutcome::Linked) | Seen::IsSo(_) => Ok(true),
            Seen::Outcome(LinkOutcome::LinkedBefore) => Ok(false),
            Seen::Outcome(LinkOutcome::LinkedToOther) => Err(Error::IdentityLinked),
            Seen::Outcome(LinkOutcome::NoUser) => Err(Error::UserNotFound),
            Seen::Outcome(LinkOutcome::TooMany) => Err(Error::TooManyIdentities { limit: max }),
            Seen::Outcome(LinkOutcome::Unreadable(damage)) => Err(Error::RecordUnreadable(damage)),
        }
    }

    /// Removes an identity, if it leads to `user` or that is `None`. Returns whether there was one.
    ///
    /// # Errors
    /// Returns [`Error::RecordUnreadable`], and [`Error::OutcomeUnknown`] if the answer was lost, and the identity is there.
    pub async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<bool, Error> {
        Ok(self.remove(identity, user).await?.unlinked)
    }

    /// The same as [`Users::unlink`], but also returns whose the identity was.
    ///
    /// # Errors
    /// Returns the errors of [`Users::unlink`].
    pub async fn remove(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<Removed, Error> {
        Error::check_name(&identity.provider, self.type_names)?;
        let unlink = async {
            let outcome = self.store.unlink(identity, user).await;
            outcome.map(Seen::Outcome)
        };
        // Removing it again could undo that somebody linked it since.
        let look = || async {
            // One that leads to somebody else than the call names isn't what it was to remove.
            let is_so = match (self.store.leads_to(identity).await?, user) {
                (None, _) => true,
                (Some(Ok(found)), Some(named)) => found != *named,
                (Some(_), _) => false,
            };
            Ok(Seen::IsSo(is_so))
        };
        let is_so = |seen: &Seen<UnlinkOutcome>| matches!(seen, Seen::IsSo(true));
        match until_known(self.options.patience, unlink, look, is_so).await? {
            Seen::Outcome(UnlinkOutcome::Unlinked(user)) => Ok(Removed {
                unlinked: true,
                user: Some(user),
            }),
            Seen::IsSo(_) => Ok(Removed {
                unlinked: true,
                user: user.cloned(),
            }),
            Seen::Outcome(UnlinkOutcome::Absent) => Ok(Removed {
                unlinked: false,
                user: None,
            }),
            Seen::Outcome(UnlinkOutcome::Unreadable(damage)) => {
                Err(Error::RecordUnreadable(damage))
            }
        }
    }

    /// Returns the identities of a user at the providers within `reach`, by provider and subject.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn list(&self, user: &UserId, reach: &Reach) -> Result<Vec<Identity>, Error> {
        let mut found = self.store.identities(user).await?;
        found.retain(|identity| reach.providers.has(&identity.key.provider));
        Ok(found)
    }
}

/// What is known of a write: its outcome, or whether what it was to bring about is so.
enum Seen<T> {
    Outcome(T),
    IsSo(bool),
}
