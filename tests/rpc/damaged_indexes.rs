//! Tests an index key that holds another type. An operator has to look at it, and the answer says so.

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant};
use token_broker::proto::v1;
use tonic::Code;

use crate::{
    refusal::refused,
    serving::{Client, Serving, get, get_all, options, session, store},
};

fn delete_all() -> v1::DeleteRequest {
    v1::DeleteRequest {
        session_id: session("s"),
        target: Some(v1::delete_request::Target::AllProviders(true)),
        version: None,
    }
}

fn latest() -> v1::GetLatestForUserRequest {
    v1::GetLatestForUserRequest {
        user_id: "u".to_owned(),
        provider: "p".to_owned(),
    }
}

fn listing() -> v1::ListUserSessionsRequest {
    v1::ListUserSessionsRequest {
        user_id: "u".to_owned(),
        ..Default::default()
    }
}

fn delete_user() -> v1::DeleteUserRequest {
    v1::DeleteUserRequest {
        user_id: "u".to_owned(),
    }
}

/// Serves a tenant with a row, whose `index` holds no set.
async fn spoiled(index: &str) -> (Serving, Client) {
    let tenant = RedisTenant::on(RedisServer::shared());
    let serving = Serving::redis(&tenant, options()).await;
    let mut client = serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    tenant.run::<()>(&["SET", &tenant.key(index), "no set"]);
    (serving, client)
}

macro_rules! unreadable {
    ($($call:expr),* $(,)?) => {$(
        refused($call.await, Code::DataLoss, "INDEX_UNREADABLE");
    )*};
}

#[tokio::test]
async fn a_sessions_index_that_is_no_set() {
    let index = format!("upstream:idx:{}", session("s"));
    let (_serving, mut client) = spoiled(&index).await;
    unreadable![
        client.store(store("s", "p")),
        client.store(store("s", "q")),
        client.get_all(get_all("s")),
        client.delete(delete_all()),
    ];
    // The row is sound, and calls that don't need the index work.
    client.get(get("s", "p")).await.unwrap();
    client.get_latest_for_user(latest()).await.unwrap();
}

#[tokio::test]
async fn a_users_index_that_is_no_set() {
    let (_serving, mut client) = spoiled("user:upstream:u").await;
    unreadable![
        client.store(store("s", "p")),
        client.store(store("s", "q")),
        client.get_latest_for_user(latest()),
        client.list_user_sessions(listing()),
        client.delete_user(delete_user()),
    ];
    client.get(get("s", "p")).await.unwrap();
    client.get_all(get_all("s")).await.unwrap();
}
