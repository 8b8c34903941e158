//! What one tenant has, and calls of every RPC by somebody who knows all of its ids.

use prost::Message;
use sha2::{Digest, Sha256};
use testkit::requests::Requests;
use token_broker::{
    access::Rpc,
    proto::v1::{self, begin_refresh_response::Outcome as Begun},
};
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

    /// The requests of an RPC about all of it, one for each way to ask.
    fn requests(&self, rpc: Rpc) -> Vec<Requests> {
        let asks = Asks {
            provider: OWN,
            client: Some(CLIENT),
        };
        let another_subject = match rpc {
            Rpc::LinkIdentity => "a third",
            _ => "another",
        };
        let usual = Requests {
            user: self.user_id.clone(),
            known: self.user_id.clone(),
            tokens: row(OWN, &self.user_id, "rt").tokens.unwrap(),
            version: self.version,
            attempt_id: ATTEMPT.to_vec(),
            refresh_token_sha256: self.refresh_token_sha256.clone(),
            another_subject: another_subject.to_owned(),
            ..asks.requests()
        };
        let other = match rpc {
            Rpc::Store => Requests {
                tokens: row(OWN, &self.user_id, "").tokens.unwrap(),
                carry_forward_refresh_token: true,
                ..usual.clone()
            },
            Rpc::Delete => Requests {
                deletes_all: true,
                ..usual.clone()
            },
            Rpc::ListUserSessions => Requests {
                page_token: self.page_token.clone(),
                ..usual.clone()
            },
            Rpc::UnlinkIdentity | Rpc::Consume => Requests {
                is_explicit: false,
                ..usual.clone()
            },
            _ => return vec![usual],
        };
        let versioned = (rpc == Rpc::Delete).then(|| Requests {
            deleted_version: Some(self.version),
            ..usual.clone()
        });
        versioned.into_iter().chain([usual, other]).collect()
    }
}

/// Calls an RPC about what was planted, in each way that there is. Returns what the answers say, or the reasons of refusals.
pub async fn ask(caller: &mut Connection, rpc: Rpc, planted: &Planted) -> Vec<String> {
    let mut all = Vec::new();
    for requests in planted.requests(rpc) {
        all.push(match caller.send(rpc, requests).await {
            Ok(answer) => says(rpc, &answer, planted),
            Err(status) => {
                let info = status.get_details_error_info();
                info.map_or_else(|| format!("{status:?}"), |info| info.reason)
            }
        });
    }
    all
}

fn decoded<T: Message + Default>(answer: &[u8]) -> T {
    T::decode(answer).unwrap()
}

/// Returns what an answer says. A new RPC doesn't compile until it is here and in [`nothing`].
fn says(rpc: Rpc, answer: &[u8], planted: &Planted) -> String {
    match rpc {
        Rpc::Store => "stored".to_owned(),
        Rpc::Get | Rpc::GetLatestForUser | Rpc::BeginRefresh => "a row".to_owned(),
        Rpc::GetAll => {
            let all: v1::GetAllResponse = decoded(answer);
            format!("{} rows", all.entries.len() + all.unreadable.len())
        }
        Rpc::Delete => {
            let done: v1::DeleteResponse = decoded(answer);
            format!("{} deleted", done.deleted)
        }
        Rpc::DeleteUser => {
            let done: v1::DeleteUserResponse = decoded(answer);
            let (rows, identities) = (done.deleted_rows, done.deleted_identities);
            format!(
                "{rows} rows, {identities} identities, a user: {}",
                done.existed
            )
        }
        Rpc::ListUserSessions => {
            let page: v1::ListUserSessionsResponse = decoded(answer);
            format!("{} rows", page.sessions.len())
        }
        Rpc::RenewRefresh => {
            let lease: v1::RenewRefreshResponse = decoded(answer);
            format!("a lease: {}", lease.length.is_some())
        }
        Rpc::CompleteRefresh => {
            let row: v1::CompleteRefreshResponse = decoded(answer);
            format!("a row: {}", row.outcome.is_some())
        }
        Rpc::GetAccessToken => "a token".to_owned(),
        Rpc::GetAllAccessTokens => {
            let all: v1::GetAllAccessTokensResponse = decoded(answer);
            format!("{} tokens", all.tokens.len() + all.failed.len())
        }
        Rpc::ResolveUser => {
            let user: v1::ResolveUserResponse = decoded(answer);
            let is_same = user.user_id == planted.user_id;
            format!("new: {}, the same: {is_same}", user.created)
        }
        Rpc::GetUser => "a user".to_owned(),
        Rpc::LinkIdentity => "linked".to_owned(),
        Rpc::UnlinkIdentity => {
            let done: v1::UnlinkIdentityResponse = decoded(answer);
            format!("unlinked: {}", done.unlinked)
        }
        Rpc::ListIdentities => {
            let all: v1::ListIdentitiesResponse = decoded(answer);
            format!("{} identities", all.identities.len())
        }
        Rpc::Create => "created".to_owned(),
        Rpc::Consume => "an authorization".to_owned(),
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
