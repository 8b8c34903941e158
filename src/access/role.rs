//! The roles: ready-made sets of RPCs.

use super::{Rpc, RpcSet};
use crate::types::labels;

labels! {
    /// A ready-made set of RPCs, for a kind of caller. It is called by its name in a policy.
    pub enum Role {
        /// An auth server: stores and reads whole rows, refresh tokens included, and deletes.
        AuthServer = "auth-server",
        /// A proxy or sidecar: gets access tokens, and never sees a refresh token.
        Sidecar = "sidecar",
        /// An operator or a job: lists and deletes, and never sees a token.
        Admin = "admin",
    }
}

impl Role {
    /// Whether the role has the RPC.
    #[must_use]
    pub fn has(self, rpc: Rpc) -> bool {
        Self::that_have(rpc).contains(&self)
    }

    /// Returns the roles that have the RPC. Every RPC is here, so that a new one doesn't compile until that is decided, and a
    /// new role has none until it is named.
    fn that_have(rpc: Rpc) -> &'static [Self] {
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
            | Rpc::Consume => &[Self::AuthServer],
            Rpc::Delete
            | Rpc::DeleteUser
            | Rpc::ListUserSessions
            | Rpc::GetUser
            | Rpc::UnlinkIdentity
            | Rpc::ListIdentities => &[Self::AuthServer, Self::Admin],
            Rpc::GetAccessToken | Rpc::GetAllAccessTokens => &[Self::Sidecar],
        }
    }

    /// Returns the RPCs of the role.
    #[must_use]
    pub fn rpcs(self) -> RpcSet {
        let all = Rpc::ALL.iter().copied();
        all.filter(|rpc| self.has(*rpc)).collect()
    }
}
