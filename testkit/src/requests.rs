//! A request of each RPC, and a way to send it.

use prost::Message;
use token_broker::{
    access::Rpc,
    proto::v1::{
        self, complete_refresh_request::Outcome, delete_request::Target, precondition::Condition,
    },
};
use tonic::{
    Request, Response, Status,
    body::Body,
    client::{Grpc, GrpcService},
    codegen::{Body as HttpBody, StdError, http::uri::PathAndQuery},
};

use crate::raw_codec::Raw;

/// What requests say: each has those of the fields that its RPC knows.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "most are named as in the proto")]
pub struct Requests {
    pub session: String,
    pub provider: String,
    /// The user of rows.
    pub user: String,
    /// A user who has identities.
    pub known: String,
    pub tokens: v1::UpstreamTokens,
    pub carry_forward_refresh_token: bool,
    pub precondition: Option<Condition>,
    /// `Delete` deletes at all providers.
    pub deletes_all: bool,
    /// `Delete` deletes this version alone.
    pub deleted_version: Option<u64>,
    pub binding: Option<v1::Binding>,
    pub include_id_token: bool,
    pub page_token: String,
    /// The version that is refreshed.
    pub version: u64,
    pub attempt_id: Vec<u8>,
    pub refresh_token_sha256: Vec<u8>,
    pub outcome: Outcome,
    /// The subject that is resolved.
    pub subject: String,
    /// The subject that is linked and unlinked.
    pub another_subject: String,
    /// `UnlinkIdentity` names the user, and `Consume` the provider, which they need not.
    pub is_explicit: bool,
    pub state: String,
    pub client: String,
    pub payload: Vec<u8>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            session: "s".to_owned(),
            provider: "p".to_owned(),
            user: "u".to_owned(),
            known: "u".to_owned(),
            tokens: tokens("at", "u"),
            carry_forward_refresh_token: false,
            precondition: None,
            deletes_all: false,
            deleted_version: None,
            binding: None,
            include_id_token: false,
            page_token: String::new(),
            version: 1,
            attempt_id: vec![1; 16],
            refresh_token_sha256: vec![1; 32],
            outcome: Outcome::Unknown(true),
            subject: "subject".to_owned(),
            another_subject: "another".to_owned(),
            is_explicit: true,
            state: "state".to_owned(),
            client: "client".to_owned(),
            payload: Vec::new(),
        }
    }
}

impl Requests {
    /// Returns the request of an RPC. A new RPC doesn't compile until it is here.
    #[must_use]
    pub fn of(self, rpc: Rpc) -> Vec<u8> {
        let (session_id, provider, binding) = (self.session, self.provider, self.binding);
        let (attempt_id, refresh_token_sha256) = (self.attempt_id, self.refresh_token_sha256);
        let (version, include_id_token) = (self.version, self.include_id_token);
        match rpc {
            Rpc::Store => v1::StoreRequest {
                session_id,
                provider,
                tokens: Some(self.tokens),
                precondition: self.precondition.map(|condition| v1::Precondition {
                    condition: Some(condition),
                }),
                carry_forward_refresh_token: self.carry_forward_refresh_token,
            }
            .encode_to_vec(),
            Rpc::Get => v1::GetRequest {
                session_id,
                provider,
                binding,
            }
            .encode_to_vec(),
            Rpc::GetAll => v1::GetAllRequest {
                session_id,
                binding,
            }
            .encode_to_vec(),
            Rpc::Delete => v1::DeleteRequest {
                session_id,
                target: Some(match self.deletes_all {
                    true => Target::AllProviders(true),
                    false => Target::Provider(provider),
                }),
                version: self.deleted_version,
            }
            .encode_to_vec(),
            Rpc::DeleteUser => v1::DeleteUserRequest { user_id: self.user }.encode_to_vec(),
            Rpc::GetLatestForUser => v1::GetLatestForUserRequest {
                user_id: self.user,
                provider,
            }
            .encode_to_vec(),
            Rpc::ListUserSessions => v1::ListUserSessionsRequest {
                user_id: self.user,
                page_token: self.page_token,
                ..Default::default()
            }
            .encode_to_vec(),
            Rpc::BeginRefresh => v1::BeginRefreshRequest {
                session_id,
                provider,
                version,
                attempt_id,
            }
            .encode_to_vec(),
            Rpc::RenewRefresh => v1::RenewRefreshRequest {
                session_id,
                provider,
                attempt_id,
                refresh_token_sha256,
            }
            .encode_to_vec(),
            Rpc::CompleteRefresh => v1::CompleteRefreshRequest {
                session_id,
                provider,
                attempt_id,
                refresh_token_sha256,
                version,
                outcome: Some(self.outcome),
            }
            .encode_to_vec(),
            Rpc::GetAccessToken => v1::GetAccessTokenRequest {
                session_id,
                provider,
                binding,
                include_id_token,
                ..Default::default()
            }
            .encode_to_vec(),
            Rpc::GetAllAccessTokens => v1::GetAllAccessTokensRequest {
                session_id,
                binding,
                include_id_token,
                ..Default::default()
            }
            .encode_to_vec(),
            Rpc::ResolveUser => v1::ResolveUserRequest {
                provider,
                provider_subject: self.subject,
            }
            .encode_to_vec(),
            Rpc::GetUser => v1::GetUserRequest {
                user_id: self.known,
            }
            .encode_to_vec(),
            Rpc::LinkIdentity => v1::LinkIdentityRequest {
                user_id: self.known,
                provider,
                provider_subject: self.another_subject,
            }
            .encode_to_vec(),
            Rpc::UnlinkIdentity => v1::UnlinkIdentityRequest {
                provider,
                provider_subject: self.another_subject,
                user_id: self.is_explicit.then_some(self.known),
            }
            .encode_to_vec(),
            Rpc::ListIdentities => v1::ListIdentitiesRequest {
                user_id: self.known,
            }
            .encode_to_vec(),
            Rpc::Create => v1::CreateRequest {
                state: self.state,
                provider,
                session_id,
                client_id: self.client,
                user_id: None,
                payload: self.payload,
                ttl: None,
            }
            .encode_to_vec(),
            Rpc::Consume => v1::ConsumeRequest {
                state: self.state,
                provider: self.is_explicit.then_some(provider),
            }
            .encode_to_vec(),
        }
    }
}

/// Returns a request that stores tokens.
pub fn store_request(
    session_id: &str,
    provider: &str,
    tokens: v1::UpstreamTokens,
) -> v1::StoreRequest {
    v1::StoreRequest {
        session_id: session_id.to_owned(),
        provider: provider.to_owned(),
        tokens: Some(tokens),
        ..Default::default()
    }
}

/// Returns the access token alone of a user, who may be nobody.
pub fn tokens(access_token: &str, user_id: &str) -> v1::UpstreamTokens {
    v1::UpstreamTokens {
        access_token: access_token.to_owned(),
        user_id: user_id.to_owned(),
        ..Default::default()
    }
}

/// Returns a request that reads a row.
pub fn get_request(session_id: &str, provider: &str) -> v1::GetRequest {
    v1::GetRequest {
        session_id: session_id.to_owned(),
        provider: provider.to_owned(),
        binding: None,
    }
}

/// Returns a request for an access token.
pub fn token_request(session_id: &str, provider: &str) -> v1::GetAccessTokenRequest {
    v1::GetAccessTokenRequest {
        session_id: session_id.to_owned(),
        provider: provider.to_owned(),
        ..Default::default()
    }
}

/// Calls an RPC, such as `TokenBroker/Get`, and returns the answer as it is.
///
/// # Errors
/// Returns how the call failed.
pub async fn send<S>(
    service: S,
    rpc: &str,
    request: Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Status>
where
    S: GrpcService<Body, Error: Into<StdError>>,
    S::ResponseBody: HttpBody<Error: Into<StdError> + Send> + Send + 'static,
{
    let path = PathAndQuery::try_from(format!("/tokenbroker.v1.{rpc}")).unwrap();
    let mut grpc = Grpc::new(service);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.into().to_string()))?;
    grpc.unary(request, path, Raw).await
}
