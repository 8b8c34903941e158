//! Lists every RPC of the service. A new RPC needs a line in [`REQUIRED`] and a line in
//! [`every_call`].

use prost::Message;
use prost_types::FileDescriptorSet;
use token_broker::proto::v1::{self, FILE_DESCRIPTOR_SET, delete_request::Target};
use tonic::{Response, Status};

use crate::serving::{Client, Serving, get, get_all, session, store};

/// The RPCs, each with the fields that its request must have.
pub const REQUIRED: [(&str, &[&str]); 7] = [
    ("Store", &["session_id", "provider", "tokens"]),
    ("Get", &["session_id", "provider"]),
    ("GetAll", &["session_id"]),
    ("Delete", &["session_id", "target"]),
    ("DeleteUser", &["user_id"]),
    ("GetLatestForUser", &["user_id", "provider"]),
    ("ListUserSessions", &["user_id"]),
];

/// Drops the content of an answer.
pub type Answer = Result<Response<()>, Status>;

fn any<T>(answer: Result<Response<T>, Status>) -> Answer {
    answer.map(|answer| answer.map(|_| ()))
}

/// Makes a valid call of each RPC, and returns the answers in the order of [`REQUIRED`].
pub async fn every_call(client: &mut Client) -> [(&'static str, Answer); 7] {
    let user_id = || "u".to_owned();
    let delete = v1::DeleteRequest {
        session_id: session("s"),
        target: Some(Target::AllProviders(true)),
        version: None,
    };
    let delete_user = v1::DeleteUserRequest { user_id: user_id() };
    let latest = v1::GetLatestForUserRequest {
        user_id: user_id(),
        provider: "p".to_owned(),
    };
    let listing = v1::ListUserSessionsRequest {
        user_id: user_id(),
        ..Default::default()
    };
    [
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
    ]
}

#[tokio::test]
async fn the_lists_have_every_rpc_of_the_service() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.iter().flat_map(|file| &file.service);
    let broker = services
        .into_iter()
        .find(|service| service.name() == "TokenBroker");
    let methods = broker.unwrap().method.iter();
    let methods: Vec<_> = methods.map(|method| method.name()).collect();
    assert_eq!(methods, REQUIRED.map(|(rpc, _)| rpc));

    let serving = Serving::memory().await;
    let calls = every_call(&mut serving.client().await).await;
    assert_eq!(methods, calls.map(|(rpc, _)| rpc));
}
