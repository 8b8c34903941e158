//! The guard at the door: who calls, and whether the policy in force allows the call.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

use super::{Caller, Policy, Rpc, Shown};
use crate::{error::Error, types::Tenant};

/// Judges calls. Clones share their state.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: Rules,
    counts: Counts,
}

#[derive(Debug)]
enum Rules {
    /// There is no policy: this is who calls.
    None(Arc<Caller>),
    /// The policy in force.
    Policy(ArcSwap<Policy>),
}

/// A call that was refused.
#[derive(Debug)]
pub struct Denied {
    /// What the caller is told.
    pub error: Error,
    /// The caller, if it is known.
    pub caller: Option<Arc<Caller>>,
}

/// What the guard counted since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Calls without credentials.
    pub without_credentials: AtomicU64,
    /// Calls with credentials of no caller.
    pub unknown: AtomicU64,
    /// Calls of known callers to RPCs that they may not call.
    pub not_allowed: AtomicU64,
    /// Policies that were taken up after the start.
    pub reloads: AtomicU64,
    /// Policies that were not taken up, because something was wrong with the file.
    pub failed_reloads: AtomicU64,
    /// 1 while something is wrong with the file, so that an older policy is in force than the file should hold; else 0.
    pub is_stale: AtomicU64,
}

impl Guard {
    /// Returns the guard of a broker that has no policy. It lets in anybody, as a caller of `tenant`.
    #[must_use]
    pub fn open(tenant: Tenant) -> Self {
        Self::with(Rules::None(Arc::new(Caller::anybody(tenant))))
    }

    /// Returns a guard that holds `policy`.
    #[must_use]
    pub fn of(policy: Policy) -> Self {
        Self::with(Rules::Policy(ArcSwap::from_pointee(policy)))
    }

    fn with(rules: Rules) -> Self {
        Self(Arc::new(Inner {
            rules,
            counts: Counts::default(),
        }))
    }

    /// Puts another policy in force, for the calls that begin from now on. Without a policy nothing happens: a broker that
    /// lets in anybody doesn't change that while it runs.
    pub fn replace(&self, policy: Policy) {
        if let Rules::Policy(in_force) = &self.0.rules {
            in_force.store(Arc::new(policy));
        }
    }

    /// Returns the policy in force, if there is one.
    #[must_use]
    pub fn policy(&self) -> Option<Arc<Policy>> {
        match &self.0.rules {
            Rules::None(_) => None,
            Rules::Policy(in_force) => Some(in_force.load_full()),
        }
    }

    /// Returns what was counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Returns the caller of a call to `rpc`, if the policy in force allows it. What the request's message asks for is to be
    /// checked by what the caller reaches. Without a policy, too, nobody is let in whose certificate is good no longer.
    ///
    /// # Errors
    /// Returns [`Denied`] with [`Error::NoCredentials`], [`Error::UnknownCaller`] or [`Error::NotAllowed`].
    pub fn judge(&self, rpc: Rpc, shown: Shown<'_>) -> Result<Arc<Caller>, Denied> {
        if shown.peer.is_some_and(|peer| peer.right.has_ended()) {
            let error = Error::UnknownCaller("the certificate is good no longer");
            self.0.counts.denied(&error);
            return Err(Denied {
                error,
                caller: None,
            });
        }
        let policy = match &self.0.rules {
            Rules::None(anybody) => return Ok(Arc::clone(anybody)),
            Rules::Policy(in_force) => in_force.load(),
        };
        let judged = policy
            .identify(shown)
            .map_err(|error| Denied {
                error,
                caller: None,
            })
            .and_then(|caller| match caller.allowed.has(rpc) {
                true => Ok(Arc::clone(caller)),
                false => Err(Denied {
                    error: Error::NotAllowed("the RPC isn't one of the caller's"),
                    caller: Some(Arc::clone(caller)),
                }),
            });
        if let Err(denied) = &judged {
            self.0.counts.denied(&denied.error);
        }
        judged
    }
}

impl Counts {
    fn denied(&self, error: &Error) {
        let count = match error {
            Error::NoCredentials => &self.without_credentials,
            Error::UnknownCaller(_) => &self.unknown,
            _ => &self.not_allowed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
