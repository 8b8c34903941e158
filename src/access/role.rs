//! The roles: ready-made sets of RPCs.

use super::{Rpc, RpcSet};

/// A ready-made set of RPCs, for a kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// An auth server: stores and reads whole rows, refresh tokens included, and deletes.
    AuthServer,
    /// A proxy or sidecar: gets access tokens, and never sees a refresh token.
    Sidecar,
    /// An operator or a job: lists and deletes, and never sees a token.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: &[Self] = &[Self::AuthServer, Self::Sidecar, Self::Admin];

    /// Returns the name that a policy gives the role.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthServer => "auth-server",
            Self::Sidecar => "sidecar",
            Self::Admin => "admin",
        }
    }

    /// Whether the role has the RPC. Every RPC is here, so that a new one doesn't compile until it is decided which roles have it.
    #[must_use]
    pub fn has(self, rpc: Rpc) -> bool {
        match rpc {
            Rpc::Store
            | Rpc::Get
            | Rpc::GetAll
            | Rpc::GetLatestForUser
            | Rpc::BeginRefresh
            | Rpc::RenewRefresh
            | Rpc::CompleteRefresh
            | Rpc::ResolveUser
            | Rpc::LinkIdentity
            | Rpc::Create
            | Rpc::Consume => self == Self::AuthServer,
            Rpc::Delete
            | Rpc::DeleteUser
            | Rpc::ListUserSessions
            | Rpc::GetUser
            | Rpc::UnlinkIdentity
            | Rpc::ListIdentities => self != Self::Sidecar,
            Rpc::GetAccessToken | Rpc::GetAllAccessTokens => self == Self::Sidecar,
        }
    }

    /// Returns the RPCs of the role.
    #[must_use]
    pub fn rpcs(self) -> RpcSet {
        let all = Rpc::ALL.iter().copied();
        all.filter(|rpc| self.has(*rpc)).collect()
    }
}
