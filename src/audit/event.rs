//! An event, before it is a line.

use std::{sync::Arc, time::SystemTime};

use super::{Hash, Name};
use crate::types::{Address, ProviderName, Tenant};

/// What happened. It holds no secret and no id, except the names of caller, tenant and providers.
#[derive(Debug)]
pub struct Event {
    /// When it was over.
    pub time: SystemTime,
    /// What sort of event it is.
    pub kind: Kind,
    /// The tenant, if it is known.
    pub tenant: Option<Arc<Tenant>>,
    /// The caller's name in the policy, if it is known.
    pub caller: Option<String>,
    /// What the caller was known by, such as `spiffe` or `bearer`.
    pub known_by: Option<&'static str>,
    /// The name in the verified certificate of a caller that isn't known.
    pub shown: Option<String>,
    /// The caller's end of the connection.
    pub peer: Option<Address>,
    /// The RPC, as a policy names it.
    pub rpc: Option<&'static str>,
    /// Whether the caller was allowed to do what it asked for.
    pub decision: Option<Decision>,
    /// The gRPC code of the outcome.
    pub code: &'static str,
    /// The reason of an error.
    pub reason: Option<&'static str>,
    /// The rows that the call named or was given.
    pub rows: Vec<RowAccess>,
    /// How many rows were listed or deleted, for a call that does that, and how many callers a policy has.
    pub count: Option<u64>,
    /// The session, for a call about all rows of one.
    pub session: Option<Name>,
    /// The user, for a call that names one.
    pub user: Option<Name>,
}

/// The sort of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call, or the refusal of one.
    Call,
    /// A provider answered a refresh with tokens of another user than the row's. Nothing of them was kept or served.
    AnotherUser,
    /// A policy came into force, at the start or in the place of another one. This is the SHA-256 of its file.
    Policy(Hash),
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::AnotherUser => "another-user",
            Self::Policy(_) => "policy",
        }
    }
}

/// What was decided about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was allowed.
    Allowed,
    /// It was denied. The text says why, in the broker's own words.
    Denied(Option<&'static str>),
}

/// A row that a call named or was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowAccess {
    /// The provider.
    pub provider: ProviderName,
    /// The row. `None` if it isn't known which one the call would have been given.
    pub row: Option<Name>,
    /// Which tokens the answer holds.
    pub tokens: TokenKinds,
    /// The reason for which the answer of several rows has no tokens of this one.
    pub reason: Option<&'static str>,
}

/// Which tokens of a row are in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenKinds {
    /// The access token.
    pub access: bool,
    /// The refresh token.
    pub refresh: bool,
    /// The ID token.
    pub id: bool,
}

impl TokenKinds {
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let kinds = [
            (self.access, "access"),
            (self.refresh, "refresh"),
            (self.id, "id"),
        ];
        kinds
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| name)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Event {
    /// Makes an event that is over now, with nothing but its tenant.
    #[must_use]
    pub fn new(kind: Kind, tenant: Option<Arc<Tenant>>, code: &'static str) -> Self {
        Self {
            time: SystemTime::now(),
            kind,
            tenant,
            caller: None,
            known_by: None,
            shown: None,
            peer: None,
            rpc: None,
            decision: None,
            code,
            reason: None,
            rows: Vec::new(),
            count: None,
            session: None,
            user: None,
        }
    }
}
