//! A caller, and what it may do.

use std::sync::Arc;

use super::{Role, Rpc, RpcSet};
use crate::{
    error::Error,
    types::{ClientId, ProviderName, Reach, Row, Tenant},
};

/// A caller whom the policy names, or anybody where there is no policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name in the policy. Empty if there is no policy.
    pub name: String,
    /// The tenant whose data the caller's calls are about. It has no other.
    pub tenant: Arc<Tenant>,
    /// The roles that the policy gives it.
    pub roles: Vec<Role>,
    /// The RPCs that the policy gives it beside its roles.
    pub rpcs: RpcSet,
    /// Its OAuth client, if the policy names one.
    pub client_id: Option<ClientId>,
    /// The rows that exist for it. If it is kept to a client, this is [`Caller::client_id`].
    pub reach: Reach,
    /// The kind of caller, for metrics.
    pub class: Class,
    /// All RPCs that it may call.
    pub allowed: RpcSet,
}

/// The kind of a caller: one of few, so that metrics may have it as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// There is no policy, or the caller isn't known.
    None,
    /// A caller with this role and no other.
    Only(Role),
    /// A caller with several roles, or with single RPCs alone.
    Other,
}

impl Class {
    /// How many kinds there are.
    pub const COUNT: usize = Role::ALL.len() + 2;

    /// Returns all kinds, in the order of their [`index`](Self::index).
    pub fn all() -> impl Iterator<Item = Self> {
        let roles = Role::ALL.into_iter().map(Self::Only);
        [Self::None].into_iter().chain(roles).chain([Self::Other])
    }

    /// Returns the number of the kind, from 0 on.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::None => 0,
            Self::Only(role) => 1 + role as usize,
            Self::Other => Self::COUNT - 1,
        }
    }

    /// Returns the label: the name of the role, `none` or `other`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Only(role) => role.name(),
            Self::Other => "other",
        }
    }
}

/// What the policy gives a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// The roles.
    pub roles: Vec<Role>,
    /// Single RPCs.
    pub rpcs: RpcSet,
    /// The OAuth client of the caller.
    pub client_id: Option<ClientId>,
    /// The rows that exist for it.
    pub reach: Reach,
}

impl Caller {
    /// Makes a caller of the policy.
    #[must_use]
    pub fn new(name: String, tenant: Arc<Tenant>, rights: Rights) -> Self {
        let Rights {
            roles,
            rpcs,
            client_id,
            reach,
        } = rights;
        let mut allowed = rpcs;
        allowed.extend(roles.iter().flat_map(|role| role.rpcs().iter()));
        let class = match roles[..] {
            [role] => Class::Only(role),
            _ => Class::Other,
        };
        Self {
            name,
            tenant,
            roles,
            rpcs,
            client_id,
            reach,
            class,
            allowed,
        }
    }

    /// Returns whoever calls a broker that has no policy: it may do everything.
    #[must_use]
    pub fn anybody(tenant: Tenant) -> Self {
        Self {
            name: String::new(),
            tenant: Arc::new(tenant),
            roles: Vec::new(),
            rpcs: RpcSet::default(),
            client_id: None,
            reach: Reach::default(),
            class: Class::None,
            allowed: Rpc::ALL.iter().copied().collect(),
        }
    }

    /// Checks that the caller may use a provider.
    ///
    /// # Errors
    /// Returns [`Error::NotAllowed`].
    pub fn may_use(&self, provider: &ProviderName) -> Result<(), Error> {
        let has = self.reach.providers.has(provider);
        has.then_some(())
            .ok_or(Error::NotAllowed("the provider isn't one of the caller's"))
    }

    /// Checks that the caller may use all providers.
    ///
    /// # Errors
    /// Returns [`Error::NotAllowed`].
    pub fn may_use_all_providers(&self) -> Result<(), Error> {
        let has = self.reach.providers.is_all();
        has.then_some(()).ok_or(Error::NotAllowed(
            "the call needs the right to all providers",
        ))
    }

    /// Checks that a read names the caller's own client in its binding, if the caller has to.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if it names none, and [`Error::NotAllowed`] if it names another one.
    pub fn may_read(&self, bound_to: Option<&ClientId>) -> Result<(), Error> {
        match (&self.reach.client, bound_to) {
            (None, _) => Ok(()),
            (Some(own), Some(named)) if own == named => Ok(()),
            (Some(_), Some(_)) => Err(Error::NotAllowed("the binding names another client")),
            (Some(_), None) => Err(Error::invalid(
                "binding.client_id",
                "must be set: the policy requires it of this caller",
            )),
        }
    }

    /// Checks that a pending authorization that the caller creates is of its own client, if it is kept to one.
    ///
    /// # Errors
    /// Returns [`Error::NotAllowed`].
    pub fn may_create(&self, client: &ClientId) -> Result<(), Error> {
        let is_own = self.reach.client.as_ref().is_none_or(|own| own == client);
        is_own.then_some(()).ok_or(Error::NotAllowed(
            "the authorization would be of another client",
        ))
    }

    /// Checks that a row that the caller stores is of its own client, if it is kept to one.
    ///
    /// # Errors
    /// Returns [`Error::NotAllowed`].
    pub fn may_store(&self, row: &Row) -> Result<(), Error> {
        let is_own = self.reach.is_of_client(row);
        is_own
            .then_some(())
            .ok_or(Error::NotAllowed("the row would be of another client"))
    }
}
