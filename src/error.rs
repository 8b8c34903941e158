//! Why a call fails, in one type.
//!
//! Each error has two texts. `Display` is what the caller may see. It never contains a token, a session id or
//! a key (guarantees, section 2.5). [`Error::operator_detail`] is for the log.

use std::{fmt, time::Duration};

use crate::types::{KeyId, PendingAuthorization, ProviderName, ReauthReason, StoredRow, TypeNames};

/// A field of a request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, as in `tokens.expires_at`.
    pub field: String,
    /// The rule, without the offending value.
    pub description: String,
}

/// The violations of a request: the first few, and how many there are. A request may have thousands, and an
/// error that lists them all is too large for clients to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    first: Vec<FieldViolation>,
    total: usize,
}

impl Violations {
    /// How many violations are kept.
    pub const KEPT: usize = 8;
    /// How many violations are in the text.
    const DESCRIBED: usize = 3;

    /// Adds a violation, or only counts it if there are [`Violations::KEPT`] already.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.total += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(FieldViolation {
                field: field.into(),
                description: description.into(),
            });
        }
    }

    /// Returns the first violations, at most [`Violations::KEPT`].
    #[must_use]
    pub fn first(&self) -> &[FieldViolation] {
        &self.first
    }

    /// Returns how many violations there are, with those that are not kept.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let described = self.first.iter().take(Self::DESCRIBED);
        for (at, FieldViolation { field, description }) in described.enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {description}")?;
        }
        match self.total.saturating_sub(Self::DESCRIBED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Why a call fails.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed; each violation names a field.
    #[error("{0}")]
    Invalid(Violations),
    /// The session has no row at the provider.
    #[error("there is no row for this session and provider")]
    RowNotFound,
    /// The user has no row at the provider.
    #[error("the user has no row at this provider")]
    UserRowNotFound,
    /// The user doesn't exist.
    #[error("there is no such user")]
    UserNotFound,
    /// The identity leads to another user.
    #[error("the identity leads to another user")]
    IdentityLinked,
    /// The user already has as many identities as a user may have.
    #[error("the user has {limit} identities already, the limit")]
    TooManyIdentities {
        /// The limit.
        limit: usize,
    },
    /// No authorization is pending under the state.
    #[error("no authorization is pending under this state")]
    StateNotFound,
    /// The state is taken, or was until lately.
    #[error("the state is taken")]
    StateExists,
    /// The authorization was pending for another provider. It is gone.
    #[error("the authorization was pending for another provider, and is gone")]
    ProviderMismatch,
    /// As many authorizations are pending as the client or the tenant may have, or they are as large.
    #[error("{of} has as many pending authorizations as it may have: {limit} {unit}")]
    TooManyPending {
        /// Whose: "the client" or "the tenant".
        of: &'static str,
        /// The limit.
        limit: u64,
        /// What the limit counts: "authorizations" or "bytes".
        unit: &'static str,
    },
    /// A user's record, an identity, a pending authorization or the record of a row's refresh tokens exists, but can't be decoded
    /// or decrypted.
    #[error("what is stored exists but can't be read")]
    RecordUnreadable(#[source] Damage),
    /// The caller set `must_not_exist`, and there is a row.
    #[error("a row exists for this session and provider")]
    RowExists,
    /// The row has another version than the caller named, or there is no row.
    #[error("the row is not the version that was named")]
    VersionMismatch,
    /// The row is bound to another user, client or subject.
    #[error("the row is not bound to what the caller expects")]
    BindingMismatch,
    /// The policy doesn't allow the caller this call, or not with this content. The text says why, for the log.
    #[error("the policy doesn't allow this call")]
    NotAllowed(&'static str),
    /// The call has no credentials.
    #[error("the call has no credentials")]
    NoCredentials,
    /// The credentials of the call are those of no caller. The text says why, for the log.
    #[error("the credentials aren't those of a caller")]
    UnknownCaller(&'static str),
    /// The event of the call can't be written, and the broker answers no call without one.
    #[error("the audit trail can't be written")]
    AuditUnavailable,
    /// A token, a row or a message is larger than its limit.
    #[error("{what} is {size} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too large: the path of a field, or "the row".
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The session already has as many providers as it may have.
    #[error("the session has {limit} providers already, the limit")]
    TooManyProviders {
        /// The limit.
        limit: usize,
    },
    /// The row exists, but can't be decoded.
    #[error("the row exists but can't be read")]
    RowUnreadable(#[source] Damage),
    /// The row, or the pending authorization, is sealed under a key that this broker lacks. A broker that has the key can read
    /// it. The call is safe to retry.
    #[error("what is stored is sealed under a key that this broker doesn't have")]
    KeyMissing(KeyId),
    /// The key of an index of the session or user, or of the pending authorizations, holds another type of value. An operator
    /// has to repair it. `token-broker check` names the key.
    #[error("an index can't be read")]
    IndexUnreadable,
    /// The store can't be reached, refuses to work, or didn't answer a read. The call is safe to retry.
    #[error("the store is unavailable")]
    StoreUnavailable(StoreFailure),
    /// The answer to a write was lost. The write may have been applied. It wasn't repeated, because that could undo
    /// what another caller wrote since. The caller has to read, and then decide.
    #[error("the answer to the write was lost: it may have been applied")]
    OutcomeUnknown(StoreFailure),
    /// A write isn't on as many replicas as required. It may be lost. The call is safe to retry.
    #[error("the write is not on as many replicas as it has to be")]
    NotDurable(StoreFailure),
    /// The same for a write that answers otherwise when it is repeated, because it has been done: it created what must not be
    /// there yet, or took what can be taken once.
    #[error("the write is not on as many replicas as it has to be, and can't be repeated")]
    DoneNotDurable(StoreFailure),
    /// The startup migration is still running. The call is safe to retry.
    #[error("the broker is starting and migrates older data")]
    Migrating,
    /// As many calls are in flight as the broker allows. The call is safe to retry.
    #[error("too many calls are in flight")]
    Overloaded,
    /// The caller's deadline passed, or the broker's time limit for a call.
    #[error("the deadline passed before the call was done")]
    DeadlineExceeded,
    /// The row has no refresh token, and its access token has expired or was refused.
    #[error("the row has no refresh token")]
    NoRefreshToken,
    /// The broker doesn't refresh the row's tokens. The text says why.
    #[error("the broker doesn't refresh these tokens: {0}")]
    NotRefreshable(&'static str),
    /// The refresh token that the caller wants to store was redeemed already. The caller has to read the row again.
    #[error("the refresh token was redeemed already: read the row again")]
    RefreshTokenRedeemed,
    /// The user has to log in at the provider again.
    #[error("the user has to log in at the provider again")]
    ReauthRequired(ReauthReason),
    /// The broker has no settings for the provider, so that it can't refresh the row.
    #[error("the provider isn't configured at the broker")]
    ProviderNotConfigured,
    /// The tokens were obtained at another issuer, or by another client, than the one that is configured.
    #[error("the tokens were obtained at another issuer or by another client than is configured")]
    ProviderChanged,
    /// The provider refuses the broker as a client, or the provider's settings are wrong.
    #[error(
        "the broker's settings for the provider don't work, or the provider refuses it as a client"
    )]
    ProviderMisconfigured(ProviderFailure),
    /// The provider can't be reached, asks to wait, or too many callers wait for it. The call is safe to retry.
    #[error("the provider can't refresh the tokens now")]
    ProviderUnavailable {
        /// Why.
        failure: ProviderFailure,
        /// When it makes sense to try again, if that is known.
        retry_after: Option<Duration>,
    },
}

/// Why a stored row can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It can't be decoded, or its envelope doesn't open.
    #[error("{0}")]
    Damaged(#[source] Damage),
    /// It is sealed under a key that this broker lacks.
    #[error("it is sealed under the key {}, which this broker doesn't have", .0.key)]
    KeyMissing(Box<KeyMissing>),
}

/// What is wrong with a stored row. The text never quotes the row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub String);

/// A row that is sealed under a key that this broker lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMissing {
    /// The key.
    pub key: KeyId,
    /// What is readable of the row. Nothing vouches for it.
    pub shown: StoredRow,
}

impl Unreadable {
    /// Returns why a row can't be decoded. `what` must not quote it.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(Damage(what.into()))
    }

    /// Returns what is readable of a row whose key is missing.
    #[must_use]
    pub fn shown(&self) -> Option<&StoredRow> {
        match self {
            Self::Damaged(_) => None,
            Self::KeyMissing(missing) => Some(&missing.shown),
        }
    }
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Damaged(damage) => Self::RowUnreadable(damage),
            Unreadable::KeyMissing(missing) => Self::KeyMissing(missing.key),
        }
    }
}

/// Why a pending authorization can't be read.
#[derive(Debug, Clone)]
pub enum Unopened {
    /// It can't be decoded, or its envelope doesn't open.
    Damaged {
        /// What is wrong with it.
        damage: Damage,
        /// What is readable of it, if it can be decoded. Nothing vouches for it.
        shown: Option<Box<PendingAuthorization>>,
    },
    /// It is sealed under a key that this broker lacks.
    KeyMissing {
        /// The key.
        key: KeyId,
        /// What is readable of it. Nothing vouches for it.
        shown: Box<PendingAuthorization>,
    },
}

impl Unopened {
    /// Returns why an authorization can't be decoded. `what` must not quote it.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged {
            damage: Damage(what.into()),
            shown: None,
        }
    }

    /// Returns what is readable of the authorization, if anything is.
    #[must_use]
    pub fn shown(&self) -> Option<&PendingAuthorization> {
        match self {
            Self::Damaged { shown, .. } => shown.as_deref(),
            Self::KeyMissing { shown, .. } => Some(shown),
        }
    }
}

impl From<Unopened> for Error {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Damaged { damage, .. } => Self::RecordUnreadable(damage),
            Unopened::KeyMissing { key, .. } => Self::KeyMissing(key),
        }
    }
}

/// Why the store didn't do its work. The text is for the log only.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StoreFailure(pub String);

/// Why a provider didn't do its work. The text is for the log only. It quotes nothing that the provider sent.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ProviderFailure(pub String);

impl Error {
    /// Returns an [`Error::Invalid`] with one violation.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = Violations::default();
        violations.add(field, description);
        Self::Invalid(violations)
    }

    /// Checks that something may be kept under `provider`: it isn't a protocol type that is no provider's name.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`], which names the field.
    pub fn check_name(provider: &ProviderName, names: TypeNames) -> Result<(), Self> {
        match names.allow(provider) {
            true => Ok(()),
            false => Err(Self::invalid(
                "provider",
                "must be the provider's own name, and not that of its protocol (oidc, oauth2)",
            )),
        }
    }

    /// Returns an [`Error::ProviderUnavailable`] without a time at which to try again. `why` is for the log.
    pub fn provider_unavailable(why: impl Into<String>) -> Self {
        Self::ProviderUnavailable {
            failure: ProviderFailure(why.into()),
            retry_after: None,
        }
    }

    /// Returns what the operator needs to know in addition to the message, and the caller must not see.
    #[must_use]
    pub fn operator_detail(&self) -> Option<&str> {
        match self {
            Self::StoreUnavailable(failure)
            | Self::OutcomeUnknown(failure)
            | Self::NotDurable(failure)
            | Self::DoneNotDurable(failure) => Some(&failure.0),
            Self::RowUnreadable(damage) | Self::RecordUnreadable(damage) => Some(&damage.0),
            Self::KeyMissing(key) => Some(key.as_str()),
            Self::ProviderMisconfigured(failure) | Self::ProviderUnavailable { failure, .. } => {
                Some(&failure.0)
            }
            Self::NotAllowed(why) | Self::UnknownCaller(why) => Some(why),
            Self::Invalid(_)
            | Self::RowNotFound
            | Self::UserRowNotFound
            | Self::UserNotFound
            | Self::IdentityLinked
            | Self::TooManyIdentities { .. }
            | Self::StateNotFound
            | Self::StateExists
            | Self::ProviderMismatch
            | Self::TooManyPending { .. }
            | Self::RowExists
            | Self::VersionMismatch
            | Self::BindingMismatch
            | Self::NoCredentials
            | Self::AuditUnavailable
            | Self::TooLarge { .. }
            | Self::TooManyProviders { .. }
            | Self::IndexUnreadable
            | Self::Migrating
            | Self::Overloaded
            | Self::DeadlineExceeded
            | Self::NoRefreshToken
            | Self::NotRefreshable(_)
            | Self::RefreshTokenRedeemed
            | Self::ReauthRequired(_)
            | Self::ProviderNotConfigured
            | Self::ProviderChanged => None,
        }
    }

    /// Returns this error for a write that can't be repeated once it is done.
    #[must_use]
    pub fn of_a_single_write(self) -> Self {
        match self {
            Self::NotDurable(failure) => Self::DoneNotDurable(failure),
            other => other,
        }
    }

    /// Returns how long the caller should wait before it repeats the call. Returns `None` if repeating it
    /// unseen is useless, or could do harm.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded => Some(Duration::from_millis(100)),
            Self::StoreUnavailable(_) | Self::NotDurable(_) => Some(Duration::from_millis(500)),
            Self::Migrating | Self::KeyMissing(_) | Self::AuditUnavailable => {
                Some(Duration::from_secs(1))
            }
            Self::ProviderUnavailable { retry_after, .. } => {
                Some(retry_after.unwrap_or(Duration::from_secs(1)))
            }
            Self::Invalid(_)
            | Self::RowNotFound
            | Self::UserRowNotFound
            | Self::UserNotFound
            | Self::IdentityLinked
            | Self::TooManyIdentities { .. }
            | Self::StateNotFound
            | Self::StateExists
            | Self::ProviderMismatch
            | Self::TooManyPending { .. }
            | Self::RowExists
            | Self::VersionMismatch
            | Self::BindingMismatch
            | Self::NotAllowed(_)
            | Self::NoCredentials
            | Self::UnknownCaller(_)
            | Self::TooLarge { .. }
            | Self::TooManyProviders { .. }
            | Self::RowUnreadable(_)
            | Self::RecordUnreadable(_)
            | Self::IndexUnreadable
            | Self::OutcomeUnknown(_)
            | Self::DoneNotDurable(_)
            | Self::DeadlineExceeded
            | Self::NoRefreshToken
            | Self::NotRefreshable(_)
            | Self::RefreshTokenRedeemed
            | Self::ReauthRequired(_)
            | Self::ProviderNotConfigured
            | Self::ProviderChanged
            | Self::ProviderMisconfigured(_) => None,
        }
    }
}
