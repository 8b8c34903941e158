//! Lists every RPC of the broker's services. A new RPC needs a line in [`RPCS`] and a line in [`every_call`].

use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;
use prost_types::FileDescriptorSet;
use token_broker::proto::v1::{
    self, FILE_DESCRIPTOR_SET, access_tokens_client::AccessTokensClient,
    complete_refresh_request::Outcome, delete_request::Target, identities_client::IdentitiesClient,
    pending_authorizations_client::PendingAuthorizationsClient,
};
use tonic::{Response, Status, transport::Channel};

use crate::serving::{Client, SECRET, Serving, get, get_all, session, store};

/// An RPC.
#[derive(Debug)]
pub struct Rpc {
    pub service: &'static str,
    pub name: &'static str,
    /// The fields that its request must have.
    pub required: &'static [&'static str],
}

impl Rpc {
    const fn broker(name: &'static str, required: &'static [&'static str]) -> Self {
        Self {
            service: "TokenBroker",
            name,
            required,
        }
    }

    const fn access(name: &'static str, required: &'static [&'static str]) -> Self {
        Self {
            service: "AccessTokens",
            name,
            required,
        }
    }

    const fn users(name: &'static str, required: &'static [&'static str]) -> Self {
        Self {
            service: "Identities",
            name,
            required,
        }
    }

    const fn pending(name: &'static str, required: &'static [&'static str]) -> Self {
        Self {
            service: "PendingAuthorizations",
            name,
            required,
        }
    }

    pub fn path(&self) -> String {
        format!("/tokenbroker.v1.{}/{}", self.service, self.name)
    }
}

/// The RPCs, in the order of the proto.
pub const RPCS: [Rpc; 19] = [
    Rpc::access("GetAccessToken", &["session_id", "provider"]),
    Rpc::access("GetAllAccessTokens", &["session_id"]),
    Rpc::broker("Store", &["session_id", "provider", "tokens"]),
    Rpc::broker("Get", &["session_id", "provider"]),
    Rpc::broker("GetAll", &["session_id"]),
    Rpc::broker("Delete", &["session_id", "target"]),
    Rpc::broker("DeleteUser", &["user_id"]),
    Rpc::broker("GetLatestForUser", &["user_id", "provider"]),
    Rpc::broker("ListUserSessions", &["user_id"]),
    Rpc::broker(
        "BeginRefresh",
        &["session_id", "provider", "version", "attempt_id"],
    ),
    Rpc::broker(
        "RenewRefresh",
        &[
            "session_id",
            "provider",
            "attempt_id",
            "refresh_token_sha256",
        ],
    ),
    Rpc::broker(
        "CompleteRefresh",
        &[
            "session_id",
            "provider",
            "attempt_id",
            "refresh_token_sha256",
            "version",
            "outcome",
        ],
    ),
    Rpc::users("ResolveUser", &["provider", "provider_subject"]),
    Rpc::users("GetUser", &["user_id"]),
    Rpc::users("LinkIdentity", &["user_id", "provider", "provider_subject"]),
    Rpc::users("UnlinkIdentity", &["provider", "provider_subject"]),
    Rpc::users("ListIdentities", &["user_id"]),
    Rpc::pending("Create", &["state", "session_id", "provider", "client_id"]),
    Rpc::pending("Consume", &["state"]),
];

/// Returns a request for the user of the subject `subject`.
pub fn identity(provider: &str) -> v1::ResolveUserRequest {
    v1::ResolveUserRequest {
        provider: provider.to_owned(),
        provider_subject: "subject".to_owned(),
    }
}

/// Returns a request that has an authorization of the client `client` wait. Its state, session and payload are secrets.
pub fn pending(state: &str, provider: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        state: session(state),
        provider: provider.to_owned(),
        session_id: session("s"),
        client_id: "client".to_owned(),
        user_id: None,
        payload: format!("payload-{SECRET}").into_bytes(),
        ttl: None,
    }
}

/// An answer without its content.
pub type Answer = Result<Response<()>, Status>;

/// Drops the content of an answer.
pub fn any<T>(answer: Result<Response<T>, Status>) -> Answer {
    answer.map(|answer| answer.map(|_| ()))
}

/// Makes a valid call of each RPC, and returns the answers in the order of [`RPCS`].
pub async fn every_call(channel: Channel) -> [(&'static str, Answer); 19] {
    let (session_id, provider) = (|| session("s"), || "p".to_owned());
    let user_id = || "u".to_owned();
    let (attempt_id, refresh_token_sha256) = (|| vec![1; 16], || vec![1; 32]);
    let mut access = AccessTokensClient::new(channel.clone());
    let one = v1::GetAccessTokenRequest {
        session_id: session_id(),
        provider: provider(),
        ..Default::default()
    };
    let all = v1::GetAllAccessTokensRequest {
        session_id: session_id(),
        ..Default::default()
    };
    let mut users = IdentitiesClient::new(channel.clone());
    let mut authorizations = PendingAuthorizationsClient::new(channel.clone());
    let mut client = Client::new(channel);
    let delete = v1::DeleteRequest {
        session_id: session_id(),
        target: Some(Target::AllProviders(true)),
        version: None,
    };
    let delete_user = v1::DeleteUserRequest { user_id: user_id() };
    let latest = v1::GetLatestForUserRequest {
        user_id: user_id(),
        provider: provider(),
    };
    let listing = v1::ListUserSessionsRequest {
        user_id: user_id(),
        ..Default::default()
    };
    let begin = v1::BeginRefreshRequest {
        session_id: session_id(),
        provider: provider(),
        version: 1,
        attempt_id: attempt_id(),
    };
    let renew = v1::RenewRefreshRequest {
        session_id: session_id(),
        provider: provider(),
        attempt_id: attempt_id(),
        refresh_token_sha256: refresh_token_sha256(),
    };
    let complete = v1::CompleteRefreshRequest {
        session_id: session_id(),
        provider: provider(),
        attempt_id: attempt_id(),
        refresh_token_sha256: refresh_token_sha256(),
        version: 1,
        outcome: Some(Outcome::Unknown(true)),
    };
    // A state that was consumed stays taken for a while.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    let created = pending(&format!("state-{number}"), "p");
    let consume = v1::ConsumeRequest {
        state: created.state.clone(),
        provider: Some(provider()),
    };
    // `u` has rows, but no record.
    let resolved = |answer: &Result<Response<v1::ResolveUserResponse>, Status>| match answer {
        Ok(answer) => answer.get_ref().user_id.clone(),
        Err(_) => "u".to_owned(),
    };
    let link = |user_id| v1::LinkIdentityRequest {
        user_id,
        provider: provider(),
        provider_subject: "another".to_owned(),
    };
    let unlink = |user_id| v1::UnlinkIdentityRequest {
        provider: provider(),
        provider_subject: "another".to_owned(),
        user_id: Some(user_id),
    };
    let before: [(&'static str, Answer); 12] = [
        ("GetAccessToken", any(access.get_access_token(one).await)),
        (
            "GetAllAccessTokens",
            any(access.get_all_access_tokens(all).await),
        ),
        ("Store", any(client.store(store("s", "p")).await)),
        ("Get", any(client.get(get("s", "p")).await)),
        ("GetAll", any(client.get_all(get_all("s")).await)),
        ("Delete", any(client.delete(delete).await)),
        ("DeleteUser", any(client.delete_user(delete_user).await)),
        (
            "GetLatestForUser",
            any(client.get_latest_for_user(latest).await),
        ),
        (
            "ListUserSessions",
            any(client.list_user_sessions(listing).await),
        ),
        ("BeginRefresh", any(client.begin_refresh(begin).await)),
        ("RenewRefresh", any(client.renew_refresh(renew).await)),
        (
            "CompleteRefresh",
            any(client.complete_refresh(complete).await),
        ),
    ];
    let found = users.resolve_user(identity("p")).await;
    let user = resolved(&found);
    let get_user = v1::GetUserRequest {
        user_id: user.clone(),
    };
    let identities = v1::ListIdentitiesRequest {
        user_id: user.clone(),
    };
    let after: [(&'static str, Answer); 7] = [
        ("ResolveUser", any(found)),
        ("GetUser", any(users.get_user(get_user).await)),
        (
            "LinkIdentity",
            any(users.link_identity(link(user.clone())).await),
        ),
        (
            "UnlinkIdentity",
            any(users.unlink_identity(unlink(user)).await),
        ),
        (
            "ListIdentities",
            any(users.list_identities(identities).await),
        ),
        ("Create", any(authorizations.create(created).await)),
        ("Consume", any(authorizations.consume(consume).await)),
    ];
    let mut all = before.into_iter().chain(after);
    std::array::from_fn(|_| all.next().unwrap())
}

#[tokio::test]
async fn the_lists_have_every_rpc_of_the_services() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let ours = set.file.iter().filter(|f| f.package() == "tokenbroker.v1");
    let mut methods = Vec::new();
    for service in ours.flat_map(|file| &file.service) {
        let paths = service.method.iter();
        methods.extend(paths.map(|method| (service.name(), method.name())));
    }
    methods.sort_unstable();
    let mut listed = RPCS.map(|rpc| (rpc.service, rpc.name));
    listed.sort_unstable();
    assert_eq!(methods, listed);

    let serving = Serving::memory().await;
    serving.client().await;
    let calls = every_call(serving.channel().await).await;
    assert_eq!(RPCS.map(|rpc| rpc.name), calls.map(|(rpc, _)| rpc));
}
