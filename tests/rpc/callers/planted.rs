//! What one tenant has, and calls of every RPC by somebody who knows all of its ids.

use sha2::{Digest, Sha256};
use token_broker::{
    access::Rpc,
    proto::v1::{
        self, begin_refresh_response::Outcome as Begun, complete_refresh_request::Outcome,
        delete_request::Target,
    },
};
use tonic::{Response, Status};
use tonic_types::StatusExt;

use super::world::{Asks, Connection, FOREIGN, OWN};
use crate::{
    every_rpc::{identity, pending},
    serving::{session, store},
};

/// In all secrets that are planted.
pub const MARK: &str = "of-one";
/// The client of all that is planted.
pub const CLIENT: &str = "client";
const ATTEMPT: [u8; 16] = [1; 16];

/// What a tenant has: a session with rows at two providers, one of which is being refreshed, their user with two
/// identities, and a pending authorization.
pub struct Planted {
    user_id: String,
    version: u64,
    refresh_token_sha256: Vec<u8>,
    page_token: String,
}

fn row(provider: &str, user_id: &str, refresh_token: &str) -> v1::StoreRequest {
    let mut request = store("s", provider);
    let tokens = request.tokens.as_mut().unwrap();
    tokens.user_id = user_id.to_owned();
    tokens.refresh_token = refresh_token.to_owned();
    request
}

impl Planted {
    pub async fn by(one: &mut Connection) -> Self {
        let user = one.users.resolve_user(identity(OWN)).await.unwrap();
        let user_id = user.into_inner().user_id;
        let link = v1::LinkIdentityRequest {
            user_id: user_id.clone(),
            provider: OWN.to_owned(),
            provider_subject: "another".to_owned(),
        };
        one.users.link_identity(link).await.unwrap();
        let refresh_token = format!("rt-{MARK}");
        let mut version = 0;
        for provider in [FOREIGN, OWN] {
            let mut row = row(provider, &user_id, &refresh_token);
            row.tokens.as_mut().unwrap().access_token = format!("at-{MARK}");
            let stored = one.broker.store(row).await.unwrap();
            version = stored.into_inner().version;
        }
        let begin = v1::BeginRefreshRequest {
            session_id: session("s"),
            provider: OWN.to_owned(),
            version,
            attempt_id: ATTEMPT.to_vec(),
        };
        let begun = one.broker.begin_refresh(begin).await.unwrap().into_inner();
        assert!(matches!(begun.outcome, Some(Begun::Lease(_))), "{begun:?}");
        let mut authorization = pending("state", OWN);
        authorization.payload = format!("payload-{MARK}").into_bytes();
        one.pending.create(authorization).await.unwrap();
        let listing = v1::ListUserSessionsRequest {
            user_id: user_id.clone(),
            page_size: 1,
            ..Default::default()
        };
        let page = one.broker.list_user_sessions(listing).await.unwrap();
        let page_token = page.into_inner().next_page_token;
        assert!(!page_token.is_empty(), "there is another page");
        Self {
            user_id,
            version,
            refresh_token_sha256: Sha256::digest(refresh_token).to_vec(),
            page_token,
        }
    }
}

/// Returns what an answer says, or the reason of a refusal.
fn told<T>(answer: Result<Response<T>, Status>, says: impl FnOnce(T) -> String) -> String {
    match answer {
        Ok(answer) => says(answer.into_inner()),
        Err(status) => {
            let info = status.get_details_error_info();
            info.map_or_else(|| format!("{status:?}"), |info| info.reason)
        }
    }
}

/// Calls an RPC about what was planted, in each way that there is. Returns what the answers say. A new RPC doesn't compile until it
/// is here and in [`nothing`].
pub async fn ask(caller: &mut Connection, rpc: Rpc, planted: &Planted) -> Vec<String> {
    let (session_id, provider) = (session("s"), OWN.to_owned());
    let user_id = planted.user_id.clone();
    let (attempt_id, version) = (ATTEMPT.to_vec(), planted.version);
    let refresh_token_sha256 = planted.refresh_token_sha256.clone();
    let asks = Asks {
        provider: OWN,
        client: Some(CLIENT),
    };
    let binding = asks.binding();
    let (broker, access) = (&mut caller.broker, &mut caller.access);
    let (users, authorizations) = (&mut caller.users, &mut caller.pending);
    match rpc {
        Rpc::Store => {
            let mut carries = row(OWN, &user_id, "");
            carries.carry_forward_refresh_token = true;
            let mut all = Vec::new();
            for request in [carries, row(OWN, &user_id, "rt")] {
                let answer = broker.store(request).await;
                all.push(told(answer, |_| "stored".to_owned()));
            }
            all
        }
        Rpc::Get => {
            let request = v1::GetRequest {
                session_id,
                provider,
                binding,
            };
            vec![told(broker.get(request).await, |_| "a row".to_owned())]
        }
        Rpc::GetAll => {
            let request = v1::GetAllRequest {
                session_id,
                binding,
            };
            let says = |all: v1::GetAllResponse| {
                format!("{} rows", all.entries.len() + all.unreadable.len())
            };
            vec![told(broker.get_all(request).await, says)]
        }
        Rpc::Delete => {
            let mut all = Vec::new();
            for (target, version) in [
                (Target::Provider(provider.clone()), Some(version)),
                (Target::Provider(provider), None),
                (Target::AllProviders(true), None),
            ] {
                let request = v1::DeleteRequest {
                    session_id: session_id.clone(),
                    target: Some(target),
                    version,
                };
                let answer = broker.delete(request).await;
                all.push(told(answer, |deleted| {
                    format!("{} deleted", deleted.deleted)
                }));
            }
            all
        }
        Rpc::DeleteUser => {
            let answer = broker.delete_user(v1::DeleteUserRequest { user_id }).await;
            vec![told(answer, |deleted| {
                format!(
                    "{} rows, {} identities, a user: {}",
                    deleted.deleted_rows, deleted.deleted_identities, deleted.existed
                )
            })]
        }
        Rpc::GetLatestForUser => {
            let request = v1::GetLatestForUserRequest { user_id, provider };
            let answer = broker.get_latest_for_user(request).await;
            vec![told(answer, |_| "a row".to_owned())]
        }
        Rpc::ListUserSessions => {
            let mut all = Vec::new();
            for page_token in [String::new(), planted.page_token.clone()] {
                let request = v1::ListUserSessionsRequest {
                    user_id: user_id.clone(),
                    page_token,
                    ..Default::default()
                };
                let answer = broker.list_user_sessions(request).await;
                all.push(told(answer, |page| format!("{} rows", page.sessions.len())));
            }
            all
        }
        Rpc::BeginRefresh => {
            let request = v1::BeginRefreshRequest {
                session_id,
                provider,
                version,
                attempt_id,
            };
            let answer = broker.begin_refresh(request).await;
            vec![told(answer, |_| "a row".to_owned())]
        }
        Rpc::RenewRefresh => {
            let request = v1::RenewRefreshRequest {
                session_id,
                provider,
                attempt_id,
                refresh_token_sha256,
            };
            let answer = broker.renew_refresh(request).await;
            vec![told(answer, |lease| {
                format!("a lease: {}", lease.length.is_some())
            })]
        }
        Rpc::CompleteRefresh => {
            let request = v1::CompleteRefreshRequest {
                session_id,
                provider,
                attempt_id,
                refresh_token_sha256,
                version,
                outcome: Some(Outcome::Unknown(true)),
            };
            let answer = broker.complete_refresh(request).await;
            vec![told(answer, |row| {
                format!("a row: {}", row.outcome.is_some())
            })]
        }
        Rpc::GetAccessToken => {
            let request = v1::GetAccessTokenRequest {
                session_id,
                provider,
                binding,
                ..Default::default()
            };
            let answer = access.get_access_token(request).await;
            vec![told(answer, |_| "a token".to_owned())]
        }
        Rpc::GetAllAccessTokens => {
            let request = v1::GetAllAccessTokensRequest {
                session_id,
                binding,
                ..Default::default()
            };
            let says = |all: v1::GetAllAccessTokensResponse| {
                format!("{} tokens", all.tokens.len() + all.failed.len())
            };
            vec![told(access.get_all_access_tokens(request).await, says)]
        }
        Rpc::ResolveUser => {
            let says = |user: v1::ResolveUserResponse| {
                let is_same = user.user_id == user_id;
                format!("new: {}, the same: {is_same}", user.created)
            };
            vec![told(users.resolve_user(identity(OWN)).await, says)]
        }
        Rpc::GetUser => {
            let answer = users.get_user(v1::GetUserRequest { user_id }).await;
            vec![told(answer, |_| "a user".to_owned())]
        }
        Rpc::LinkIdentity => {
            let request = v1::LinkIdentityRequest {
                user_id,
                provider,
                provider_subject: "a third".to_owned(),
            };
            let answer = users.link_identity(request).await;
            vec![told(answer, |_| "linked".to_owned())]
        }
        Rpc::UnlinkIdentity => {
            let mut all = Vec::new();
            for user_id in [Some(user_id), None] {
                let request = v1::UnlinkIdentityRequest {
                    provider: provider.clone(),
                    provider_subject: "another".to_owned(),
                    user_id,
                };
                let answer = users.unlink_identity(request).await;
                all.push(told(answer, |done| format!("unlinked: {}", done.unlinked)));
            }
            all
        }
        Rpc::ListIdentities => {
            let request = v1::ListIdentitiesRequest { user_id };
            let answer = users.list_identities(request).await;
            vec![told(answer, |all| {
                format!("{} identities", all.identities.len())
            })]
        }
        Rpc::Create => {
            let answer = authorizations.create(pending("state", OWN)).await;
            vec![told(answer, |_| "created".to_owned())]
        }
        Rpc::Consume => {
            let mut all = Vec::new();
            for provider in [None, Some(provider)] {
                let request = v1::ConsumeRequest {
                    state: session("state"),
                    provider,
                };
                let answer = authorizations.consume(request).await;
                all.push(told(answer, |_| "an authorization".to_owned()));
            }
            all
        }
    }
}

/// Returns what each RPC says where nothing was planted.
pub fn nothing(rpc: Rpc) -> &'static [&'static str] {
    match rpc {
        Rpc::Store => &["stored", "stored"],
        Rpc::Get | Rpc::GetLatestForUser | Rpc::BeginRefresh | Rpc::GetAccessToken => {
            &["ROW_NOT_FOUND"]
        }
        Rpc::GetAll => &["0 rows"],
        Rpc::Delete => &["0 deleted", "0 deleted", "0 deleted"],
        Rpc::DeleteUser => &["0 rows, 0 identities, a user: false"],
        // A page token is good where it was made.
        Rpc::ListUserSessions => &["0 rows", "INVALID_FIELD"],
        Rpc::RenewRefresh => &["a lease: false"],
        Rpc::CompleteRefresh => &["a row: false"],
        Rpc::GetAllAccessTokens => &["0 tokens"],
        Rpc::ResolveUser => &["new: true, the same: false"],
        Rpc::GetUser | Rpc::LinkIdentity => &["USER_NOT_FOUND"],
        Rpc::UnlinkIdentity => &["unlinked: false", "unlinked: false"],
        Rpc::ListIdentities => &["0 identities"],
        Rpc::Create => &["created"],
        Rpc::Consume => &["STATE_NOT_FOUND", "STATE_NOT_FOUND"],
    }
}
