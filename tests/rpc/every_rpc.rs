//! Requests of every RPC of the broker's services.

use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;
use prost_types::FileDescriptorSet;
use testkit::requests::{Requests, send};
use token_broker::{
    access::Rpc,
    proto::v1::{self, FILE_DESCRIPTOR_SET},
};
use tonic::{Request, Response, Status, transport::Channel};

use crate::serving::{SECRET, session, store};

/// Returns the fields that the request of an RPC must have. A new RPC doesn't compile until it is here.
pub fn required(rpc: Rpc) -> &'static [&'static str] {
    match rpc {
        Rpc::Store => &["session_id", "provider", "tokens"],
        Rpc::Get | Rpc::GetAccessToken => &["session_id", "provider"],
        Rpc::GetAll | Rpc::GetAllAccessTokens => &["session_id"],
        Rpc::Delete => &["session_id", "target"],
        Rpc::GetLatestForUser => &["user_id", "provider"],
        Rpc::BeginRefresh => &["session_id", "provider", "version", "attempt_id"],
        Rpc::RenewRefresh => &[
            "session_id",
            "provider",
            "attempt_id",
            "refresh_token_sha256",
        ],
        Rpc::CompleteRefresh => &[
            "session_id",
            "provider",
            "attempt_id",
            "refresh_token_sha256",
            "version",
            "outcome",
        ],
        Rpc::ResolveUser | Rpc::UnlinkIdentity => &["provider", "provider_subject"],
        Rpc::LinkIdentity => &["user_id", "provider", "provider_subject"],
        Rpc::DeleteUser | Rpc::ListUserSessions | Rpc::GetUser | Rpc::ListIdentities => {
            &["user_id"]
        }
        Rpc::Create => &["state", "session_id", "provider", "client_id"],
        Rpc::Consume => &["state"],
    }
}

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

/// Returns requests that are as those of [`store`] and [`pending`]. The identities are those of `u`, who has rows, but no record.
pub fn requests(provider: &str) -> Requests {
    let pending = pending("state", provider);
    Requests {
        session: session("s"),
        provider: provider.to_owned(),
        tokens: store("s", provider).tokens.unwrap(),
        state: pending.state,
        payload: pending.payload,
        ..Requests::default()
    }
}

/// Makes a call, and returns its answer without decoding it.
pub async fn call(channel: &Channel, rpc: Rpc, requests: Requests) -> Answer {
    let request = Request::new(requests.of(rpc));
    send(channel.clone(), rpc.full_name(), request).await
}

/// An answer that wasn't decoded.
pub type Answer = Result<Response<Vec<u8>>, Status>;

/// Makes a valid call of each RPC, those that read tokens before those that delete them.
pub async fn every_call(channel: Channel) -> Vec<(Rpc, Answer)> {
    // A state that was consumed stays taken for a while.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut requests = Requests {
        deletes_all: true,
        state: session(&format!("state-{number}")),
        ..requests("p")
    };
    let mut rpcs = Rpc::ALL.to_vec();
    rpcs.sort_by_key(|rpc| rpc.service());
    let mut answers = Vec::new();
    for rpc in rpcs {
        let answer = call(&channel, rpc, requests.clone()).await;
        if let (Rpc::ResolveUser, Ok(answer)) = (rpc, &answer) {
            let user = v1::ResolveUserResponse::decode(&**answer.get_ref()).unwrap();
            requests.known = user.user_id;
        }
        answers.push((rpc, answer));
    }
    answers
}

#[test]
fn the_list_has_every_rpc_of_the_services() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let ours = set.file.iter().filter(|f| f.package() == "tokenbroker.v1");
    let mut methods = Vec::new();
    for service in ours.flat_map(|file| &file.service) {
        let paths = service.method.iter();
        methods.extend(paths.map(|method| (service.name(), method.name())));
    }
    methods.sort_unstable();
    let mut listed: Vec<_> = Rpc::ALL
        .iter()
        .map(|rpc| (rpc.service(), rpc.name()))
        .collect();
    listed.sort_unstable();
    assert_eq!(methods, listed);
}
