//! A broker with a policy, and calls of each RPC by callers that show what they have.

use std::sync::Arc;

use testkit::{
    requests::{Requests, send},
    waiting::until,
};
use token_broker::{
    access::{Caller, Credential, Guard, Policy, Rights, Rpc, TokenSha256},
    proto::v1::{
        self, access_tokens_client::AccessTokensClient, identities_client::IdentitiesClient,
        pending_authorizations_client::PendingAuthorizationsClient,
        token_broker_client::TokenBrokerClient,
    },
    types::{ClientId, ProviderName, ProviderSet},
};
use tonic::{
    Request, Response, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_types::StatusExt;

use crate::{
    every_rpc::requests,
    serving::{SECRET, Serving, options, store},
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

/// Returns the reason of a refusal, or `OK`.
pub fn reason(answer: Result<(), Status>) -> String {
    let details = answer.map_err(|status| status.get_details_error_info().unwrap().reason);
    details.err().unwrap_or_else(|| "OK".to_owned())
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
    any: InterceptedService<Channel, Shows>,
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
            pending: PendingAuthorizationsClient::with_interceptor(channel.clone(), shows.clone()),
            any: InterceptedService::new(channel, shows),
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

    pub fn requests(self) -> Requests {
        let mut requests = requests(self.provider);
        requests.binding = self.binding();
        if let Some(client) = self.client {
            requests.tokens.client_id = client.to_owned();
            requests.client = client.to_owned();
        }
        requests
    }
}

impl Connection {
    /// Calls an RPC. `Delete` deletes at one provider. Tells whether it was OK.
    pub async fn call(&mut self, rpc: Rpc, asks: Asks) -> Result<(), Status> {
        self.send(rpc, asks.requests()).await.map(drop)
    }

    /// Calls an RPC, and returns the answer encoded.
    pub async fn send(&mut self, rpc: Rpc, requests: Requests) -> Result<Vec<u8>, Status> {
        let request = Request::new(requests.of(rpc));
        let answer = send(&mut self.any, rpc.full_name(), request).await;
        answer.map(Response::into_inner)
    }
}
