//! A broker with a policy, and calls of each RPC by callers that show what they have.

use std::sync::Arc;

use testkit::waiting::until;
use token_broker::{
    access::{Caller, Credential, Guard, Policy, Rights, Rpc, TokenSha256},
    proto::v1::{
        self, access_tokens_client::AccessTokensClient, complete_refresh_request::Outcome,
        delete_request::Target, identities_client::IdentitiesClient,
        pending_authorizations_client::PendingAuthorizationsClient,
        token_broker_client::TokenBrokerClient,
    },
    types::{ClientId, ProviderName, ProviderSet},
};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    every_rpc::{identity, pending},
    serving::{SECRET, Serving, options, session, store},
};

/// The provider that the callers may use who may not use all, and one that they may not.
pub const OWN: &str = "p";
pub const FOREIGN: &str = "q";

/// Returns the rights to these providers.
pub fn providers(names: &[&str]) -> ProviderSet {
    let names = names.iter().map(|name| ProviderName::new(*name).unwrap());
    ProviderSet::Named(names.collect())
}

pub fn client_id(id: &str) -> Option<ClientId> {
    ClientId::new(id).ok()
}

/// Returns a policy. Each caller is known by the bearer token `NAME-SECRET`.
pub fn policy(callers: impl IntoIterator<Item = (&'static str, Rights)>) -> Policy {
    policy_of_tenants(
        callers
            .into_iter()
            .map(|(name, rights)| (name, "default:default", rights)),
    )
}

/// Like [`policy`], of callers of several tenants.
pub fn policy_of_tenants<'a>(
    callers: impl IntoIterator<Item = (&'a str, &'a str, Rights)>,
) -> Policy {
    let mut policy = Policy::default();
    for (name, tenant, rights) in callers {
        let tenant = Arc::new(tenant.parse().unwrap());
        let caller = Caller::new(name.to_owned(), tenant, rights);
        let hash = TokenSha256::of(token(name).as_bytes());
        policy.add(caller, vec![Credential::Bearer(hash)]).unwrap();
    }
    policy
}

fn token(name: &str) -> String {
    format!("{name}-{SECRET}")
}

/// What a call shows in its headers `authorization`.
#[derive(Clone, Default)]
pub struct Shows(pub Vec<String>);

impl Shows {
    /// The token of a caller.
    pub fn caller(name: &str) -> Self {
        Self(vec![format!("Bearer {}", token(name))])
    }

    /// All that both show.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl Interceptor for Shows {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for header in &self.0 {
            let header = MetadataValue::try_from(header).unwrap();
            request.metadata_mut().append("authorization", header);
        }
        Ok(request)
    }
}

/// A broker with a policy.
pub struct World {
    pub serving: Serving,
    pub guard: Guard,
}

/// A connection whose calls show something.
#[derive(Clone)]
pub struct Connection {
    pub broker: TokenBrokerClient<InterceptedService<Channel, Shows>>,
    pub access: AccessTokensClient<InterceptedService<Channel, Shows>>,
    pub users: IdentitiesClient<InterceptedService<Channel, Shows>>,
    pub pending: PendingAuthorizationsClient<InterceptedService<Channel, Shows>>,
}

impl World {
    pub async fn start(policy: Policy) -> Self {
        let guard = Guard::of(policy);
        let serving = Serving::guarded(guard.clone(), options()).await;
        Self { serving, guard }
    }

    pub async fn connect(&self, shows: Shows) -> Connection {
        let channel = self.serving.channel().await;
        Connection {
            broker: TokenBrokerClient::with_interceptor(channel.clone(), shows.clone()),
            access: AccessTokensClient::with_interceptor(channel.clone(), shows.clone()),
            users: IdentitiesClient::with_interceptor(channel.clone(), shows.clone()),
            pending: PendingAuthorizationsClient::with_interceptor(channel, shows),
        }
    }

    /// Connects a caller.
    pub async fn caller(&self, name: &str) -> Connection {
        self.connect(Shows::caller(name)).await
    }

    /// Stores rows of the user `u` in the session `s` as `caller`: one at each provider. Before that it waits until calls are
    /// admitted.
    pub async fn fill(&self, caller: &str) {
        let connection = self.caller(caller).await;
        for provider in [OWN, FOREIGN] {
            until("the broker stores a row", || {
                let mut connection = connection.clone();
                async move { connection.broker.store(store("s", provider)).await.is_ok() }
            })
            .await;
        }
    }
}

/// What a call asks for.
#[derive(Clone, Copy)]
pub struct Asks {
    pub provider: &'static str,
    /// The client in the binding of reads, in the row that is stored, and in the authorization that is created.
    pub client: Option<&'static str>,
}

impl Asks {
    pub fn at(provider: &'static str) -> Self {
        Self {
            provider,
            client: None,
        }
    }

    pub fn binding(self) -> Option<v1::Binding> {
        self.client.map(|client| v1::Binding {
            client_id: Some(client.to_owned()),
            ..Default::default()
        })
    }
}

impl Connection {
    /// Calls an RPC. `Delete` deletes at one provider. Tells whether it was OK.
    pub async fn call(&mut self, rpc: Rpc, asks: Asks) -> Result<(), Status> {
        let (session_id, provider) = (session("s"), asks.provider.to_owned());
        let (user_id, binding) = ("u".to_owned(), asks.binding());
        let (attempt_id, refresh_token_sha256) = (vec![1; 16], vec![1; 32]);
        let (broker, access) = (&mut self.broker, &mut self.access);
        let (users, authorizations) = (&mut self.users, &mut self.pending);
        match rpc {
            Rpc::Store => {
                let mut request = store("s", asks.provider);
                if let (Some(tokens), Some(client)) = (&mut request.tokens, asks.client) {
                    tokens.client_id = client.to_owned();
                }
                broker.store(request).await.map(drop)
            }
            Rpc::Get => {
                let request = v1::GetRequest {
                    session_id,
                    provider,
                    binding,
                };
                broker.get(request).await.map(drop)
            }
            Rpc::GetAll => {
                let request = v1::GetAllRequest {
                    session_id,
                    binding,
                };
                broker.get_all(request).await.map(drop)
            }
            Rpc::Delete => {
                let request = v1::DeleteRequest {
                    session_id,
                    target: Some(Target::Provider(provider)),
                    version: None,
                };
                broker.delete(request).await.map(drop)
            }
            Rpc::DeleteUser => {
                let request = v1::DeleteUserRequest { user_id };
                broker.delete_user(request).await.map(drop)
            }
            Rpc::GetLatestForUser => {
                let request = v1::GetLatestForUserRequest { user_id, provider };
                broker.get_latest_for_user(request).await.map(drop)
            }
            Rpc::ListUserSessions => {
                let request = v1::ListUserSessionsRequest {
                    user_id,
                    ..Default::default()
                };
                broker.list_user_sessions(request).await.map(drop)
            }
            Rpc::BeginRefresh => {
                let request = v1::BeginRefreshRequest {
                    session_id,
                    provider,
                    version: 1,
                    attempt_id,
                };
                broker.begin_refresh(request).await.map(drop)
            }
            Rpc::RenewRefresh => {
                let request = v1::RenewRefreshRequest {
                    session_id,
                    provider,
                    attempt_id,
                    refresh_token_sha256,
                };
                broker.renew_refresh(request).await.map(drop)
            }
            Rpc::CompleteRefresh => {
                let request = v1::CompleteRefreshRequest {
                    session_id,
                    provider,
                    attempt_id,
                    refresh_token_sha256,
                    version: 1,
                    outcome: Some(Outcome::Unknown(true)),
                };
                broker.complete_refresh(request).await.map(drop)
            }
            Rpc::GetAccessToken => {
                let request = v1::GetAccessTokenRequest {
                    session_id,
                    provider,
                    binding,
                    ..Default::default()
                };
                access.get_access_token(request).await.map(drop)
            }
            Rpc::GetAllAccessTokens => {
                let request = v1::GetAllAccessTokensRequest {
                    session_id,
                    binding,
                    ..Default::default()
                };
                access.get_all_access_tokens(request).await.map(drop)
            }
            Rpc::ResolveUser => {
                let request = identity(asks.provider);
                users.resolve_user(request).await.map(drop)
            }
            Rpc::GetUser => {
                let request = v1::GetUserRequest { user_id };
                users.get_user(request).await.map(drop)
            }
            Rpc::LinkIdentity => {
                let request = v1::LinkIdentityRequest {
                    user_id,
                    provider,
                    provider_subject: "another".to_owned(),
                };
                users.link_identity(request).await.map(drop)
            }
            Rpc::UnlinkIdentity => {
                let request = v1::UnlinkIdentityRequest {
                    provider,
                    provider_subject: "another".to_owned(),
                    user_id: Some(user_id),
                };
                users.unlink_identity(request).await.map(drop)
            }
            Rpc::ListIdentities => {
                let request = v1::ListIdentitiesRequest { user_id };
                users.list_identities(request).await.map(drop)
            }
            Rpc::Create => {
                let mut request = pending("state", asks.provider);
                if let Some(client) = asks.client {
                    request.client_id = client.to_owned();
                }
                authorizations.create(request).await.map(drop)
            }
            Rpc::Consume => {
                let request = v1::ConsumeRequest {
                    state: session("state"),
                    provider: Some(provider),
                };
                authorizations.consume(request).await.map(drop)
            }
        }
    }
}
