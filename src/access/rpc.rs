//! The RPCs that a policy speaks of: all of the broker's own services.

use std::fmt;

/// Declares the RPCs, service by service.
macro_rules! rpcs {
    ($($service:ident { $($rpc:ident)+ })+) => {
        /// An RPC of the broker's own services. Health and reflection aren't among them: they answer everybody.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rpc {
            $($(
                #[doc = concat!("`", stringify!($service), "/", stringify!($rpc), "`.")]
                $rpc,
            )+)+
        }

        impl Rpc {
            /// All RPCs, service by service.
            pub const ALL: &[Self] = &[$($(Self::$rpc),+),+];

            /// Returns the name of the RPC's service, without its package.
            #[must_use]
            pub fn service(self) -> &'static str {
                match self {
                    $($(Self::$rpc)|+ => stringify!($service),)+
                }
            }

            /// Returns the name of the RPC, without its service.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $($(Self::$rpc => stringify!($rpc),)+)+
                }
            }

            /// Returns the RPC as a policy names it, such as `TokenBroker/Get`.
            #[must_use]
            pub fn full_name(self) -> &'static str {
                match self {
                    $($(Self::$rpc => concat!(stringify!($service), "/", stringify!($rpc)),)+)+
                }
            }
        }
    };
}

rpcs! {
    TokenBroker {
        Store
        Get
        GetAll
        Delete
        DeleteUser
        GetLatestForUser
        ListUserSessions
        BeginRefresh
        RenewRefresh
        CompleteRefresh
    }
    AccessTokens {
        GetAccessToken
        GetAllAccessTokens
    }
    Identities {
        ResolveUser
        GetUser
        LinkIdentity
        UnlinkIdentity
        ListIdentities
    }
    PendingAuthorizations {
        Create
        Consume
    }
}

/// Which providers a call to an RPC concerns, and so which a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns {
    /// The provider that the request names.
    One,
    /// The provider that the request names, or all of them if it asks for all.
    OneOrAll,
    /// All of them.
    All,
    /// The caller's: what is of others doesn't exist for it.
    Own,
    /// None.
    None,
}

impl Rpc {
    /// Returns which providers a call concerns.
    #[must_use]
    pub fn concerns(self) -> Concerns {
        match self {
            Self::Store
            | Self::Get
            | Self::GetLatestForUser
            | Self::BeginRefresh
            | Self::RenewRefresh
            | Self::CompleteRefresh
            | Self::GetAccessToken
            | Self::Create
            | Self::Consume => Concerns::One,
            Self::Delete => Concerns::OneOrAll,
            Self::DeleteUser | Self::ResolveUser | Self::LinkIdentity | Self::UnlinkIdentity => {
                Concerns::All
            }
            Self::GetAll
            | Self::ListUserSessions
            | Self::GetAllAccessTokens
            | Self::ListIdentities => Concerns::Own,
            Self::GetUser => Concerns::None,
        }
    }
}

impl fmt::Display for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full_name())
    }
}

/// A set of RPCs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RpcSet(u64);

impl RpcSet {
    fn bit(rpc: Rpc) -> u64 {
        1 << rpc as u32
    }

    /// Whether the RPC is one of them.
    #[must_use]
    pub fn has(self, rpc: Rpc) -> bool {
        self.0 & Self::bit(rpc) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the RPCs in the order of [`Rpc::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Rpc> {
        Rpc::ALL.iter().copied().filter(move |rpc| self.has(*rpc))
    }
}

impl FromIterator<Rpc> for RpcSet {
    fn from_iter<I: IntoIterator<Item = Rpc>>(rpcs: I) -> Self {
        Self(rpcs.into_iter().fold(0, |bits, rpc| bits | Self::bit(rpc)))
    }
}

impl Extend<Rpc> for RpcSet {
    fn extend<I: IntoIterator<Item = Rpc>>(&mut self, rpcs: I) {
        self.0 |= rpcs.into_iter().collect::<Self>().0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        for rpc in Rpc::ALL {
            let one: RpcSet = [*rpc].into_iter().collect();
            assert_eq!(one.iter().collect::<Vec<_>>(), [*rpc]);
            let others: RpcSet = Rpc::ALL
                .iter()
                .copied()
                .filter(|other| other != rpc)
                .collect();
            assert!(!others.has(*rpc) && others.iter().count() == Rpc::ALL.len() - 1);
        }
        assert!(RpcSet::default().is_empty());
    }
}
