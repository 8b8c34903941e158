//! The store of users and identities: what is known about users apart from their rows.

use std::{future::Future, time::Duration};

use super::Error;
use crate::{
    error::Damage,
    types::{Identity, IdentityKey, Lineage, UserId, UserRecord},
};

/// How long an identity that was used isn't noted as used again.
pub(crate) const USED_WITHIN: Duration = Duration::from_secs(60);

/// A store of users and their identities.
///
/// An identity is good while its user has a record. One whose user is gone counts as none: the next login links it anew.
pub trait Identities: Send + Sync + 'static {
    /// Returns the user that an identity leads to, and notes that it was used, once a minute at most. If there is none, makes
    /// `new` a user, and links the identity to it in the same step.
    ///
    /// What this answers is as durable as a write, also if nothing had to be written.
    ///
    /// # Errors
    /// Returns an [`Error`], as every other method does. After [`Error::Unknown`], who calls this again with another `new`
    /// gets the user that was made, if one was.
    fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> impl Future<Output = Result<Result<Resolved, Damage>, Error>> + Send;

    /// Returns the record of a user.
    fn user(
        &self,
        user: &UserId,
    ) -> impl Future<Output = Result<Option<Result<UserRecord, Damage>>, Error>> + Send;

    /// Links an identity to a user who has a record, in one step.
    fn link(&self, new: NewIdentity<'_>)
    -> impl Future<Output = Result<LinkOutcome, Error>> + Send;

    /// Returns the user that an identity leads to, and changes nothing. What this answers is as durable as a write.
    fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> impl Future<Output = Result<Option<Result<UserId, Damage>>, Error>> + Send;

    /// Removes an identity, if it leads to `user` or that is `None`.
    fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> impl Future<Output = Result<UnlinkOutcome, Error>> + Send;

    /// Returns the identities of a user that can be read, by provider and subject.
    fn identities(
        &self,
        user: &UserId,
    ) -> impl Future<Output = Result<Vec<Identity>, Error>> + Send;

    /// Deletes the record of a user and then the identities. If a call is interrupted, the next one deletes
    /// the rest. All of them are gone when it returns, in the data of the lineage that it returns. From the first step on no
    /// identity can be linked to the user.
    ///
    /// # Errors
    /// Returns an [`Error`]. What was deleted before stays deleted.
    fn delete_user(
        &self,
        user: &UserId,
    ) -> impl Future<Output = Result<DeletedIdentities, Error>> + Send;
}

/// The user that an identity leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The user.
    pub user: UserId,
    /// Whether this step made it.
    pub created: bool,
}

/// An identity that is to be linked to a user.
#[derive(Clone, Copy, Debug)]
pub struct NewIdentity<'a> {
    /// The identity.
    pub key: &'a IdentityKey,
    /// The user.
    pub user: &'a UserId,
    /// How many identities a user may have.
    pub max: usize,
}

/// The outcome of [`Identities::link`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOutcome {
    /// It is linked.
    Linked,
    /// It led to this user before.
    LinkedBefore,
    /// Nothing was written: it leads to another user.
    LinkedToOther,
    /// Nothing was written: the user has no record.
    NoUser,
    /// Nothing was written: the user has [`NewIdentity::max`] identities already.
    TooMany,
    /// Nothing was written: an identity is there that can't be decoded.
    Unreadable(Damage),
}

/// The outcome of [`Identities::unlink`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnlinkOutcome {
    /// It was removed, and led to this user.
    Unlinked(UserId),
    /// There was none, or it leads to another user.
    Absent,
    /// Nothing was written: it can't be decoded.
    Unreadable(Damage),
}

/// What [`Identities::delete_user`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedIdentities {
    /// How many identities. An identity leads from a provider's subject to the user.
    pub count: u64,
    /// Whether there was a user record.
    pub record: bool,
    /// The data in which nothing is left.
    pub lineage: Lineage,
}
