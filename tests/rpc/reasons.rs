//! Tests each error reason of this service (guarantees, section 2.5), with its code and details. `refusal` checks
//! each time that no error repeats a secret.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use testkit::{
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    waiting::until,
};
use token_broker::{
    proto::v1::{self, delete_request::Target, precondition::Condition},
    seal::{KeyRing, Keys, MasterKey},
    store::{MemoryStore, Sealed, Sealing},
    types::KeyName,
};
use tokio::sync::oneshot;
use tonic::Code;

use crate::{
    every_rpc::every_call,
    refusal::refused,
    serving::{SECRET, Serving, get, get_all, options, session, store},
};

fn on(condition: Condition) -> Option<v1::Precondition> {
    Some(v1::Precondition {
        condition: Some(condition),
    })
}

#[tokio::test]
async fn row_not_found() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    refused(
        client.get(get("s", SECRET)).await,
        Code::NotFound,
        "ROW_NOT_FOUND",
    );
    let latest = v1::GetLatestForUserRequest {
        user_id: "u".to_owned(),
        provider: "p".to_owned(),
    };
    refused(
        client.get_latest_for_user(latest).await,
        Code::NotFound,
        "ROW_NOT_FOUND",
    );
}

/// Returns how rows are sealed with a key of this name.
fn sealing(key: &str) -> Sealing {
    let key = MasterKey::generate(&KeyName::new(key).unwrap()).unwrap();
    Sealing {
        keys: Keys::fixed(KeyRing::of(vec![key])),
        ..Sealing::off("default:default".parse().unwrap())
    }
}

#[tokio::test]
async fn key_missing() {
    let memory = Arc::new(MemoryStore::new());
    let serving = async |key| {
        let store = Sealed::new(Arc::clone(&memory), sealing(key));
        Serving::start(
            "default:default".parse().unwrap(),
            store,
            options(),
            async {},
        )
        .await
    };
    let (has_the_key, lacks_it) = (serving("new").await, serving("old").await);
    has_the_key
        .client()
        .await
        .store(store("s", "p"))
        .await
        .unwrap();
    let mut client = lacks_it.client().await;
    refused(
        client.get(get("s", "p")).await,
        Code::Unavailable,
        "KEY_MISSING",
    );
    let all = client.get_all(get_all("s")).await.unwrap().into_inner();
    assert_eq!(
        (all.entries.len(), all.unreadable),
        (0, vec!["p".to_owned()])
    );
}

#[tokio::test]
async fn row_exists_and_version_mismatch() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let version = client
        .store(store("s", "p"))
        .await
        .unwrap()
        .into_inner()
        .version;
    let only_new = v1::StoreRequest {
        precondition: on(Condition::MustNotExist(true)),
        ..store("s", "p")
    };
    refused(
        client.store(only_new).await,
        Code::AlreadyExists,
        "ROW_EXISTS",
    );

    let on_version = |version| v1::StoreRequest {
        precondition: on(Condition::Version(version)),
        ..store("s", "p")
    };
    let next = client
        .store(on_version(version))
        .await
        .unwrap()
        .into_inner()
        .version;
    let stale = client.store(on_version(version)).await;
    refused(stale, Code::FailedPrecondition, "VERSION_MISMATCH");
    let delete = |version| v1::DeleteRequest {
        session_id: session("s"),
        target: Some(Target::Provider("p".to_owned())),
        version: Some(version),
    };
    let stale = client.delete(delete(version)).await;
    refused(stale, Code::FailedPrecondition, "VERSION_MISMATCH");
    assert_eq!(
        client
            .delete(delete(next))
            .await
            .unwrap()
            .into_inner()
            .deleted,
        1
    );
}

#[tokio::test]
async fn binding_mismatch() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    for field in 0..3 {
        let mut binding = v1::Binding::default();
        let fields = [
            &mut binding.user_id,
            &mut binding.client_id,
            &mut binding.upstream_subject,
        ];
        *fields.into_iter().nth(field).unwrap() = Some("another".to_owned());
        let one = v1::GetRequest {
            binding: Some(binding.clone()),
            ..get("s", "p")
        };
        refused(
            client.get(one).await,
            Code::PermissionDenied,
            "BINDING_MISMATCH",
        );
        let all = v1::GetAllRequest {
            binding: Some(binding),
            ..get_all("s")
        };
        refused(
            client.get_all(all).await,
            Code::PermissionDenied,
            "BINDING_MISMATCH",
        );
    }
}

#[tokio::test]
async fn row_unreadable() {
    let tenant = RedisTenant::on(RedisServer::shared());
    let serving = Serving::redis(&tenant, options()).await;
    let mut client = serving.client().await;
    for provider in ["z", "b", "good", "a"] {
        client.store(store("s", provider)).await.unwrap();
    }
    for bad in ["z", "b", "a"] {
        let text = format!(r#"{{"access_token":"at-{SECRET}","expires_at":"{SECRET}"}}"#);
        tenant.write_row(&format!("upstream:{}:{bad}", session("s")), &text);
    }
    refused(
        client.get(get("s", "b")).await,
        Code::DataLoss,
        "ROW_UNREADABLE",
    );
    let latest = v1::GetLatestForUserRequest {
        user_id: "u".to_owned(),
        provider: "b".to_owned(),
    };
    refused(
        client.get_latest_for_user(latest).await,
        Code::DataLoss,
        "ROW_UNREADABLE",
    );

    let all = client.get_all(get_all("s")).await.unwrap().into_inner();
    assert_eq!(all.unreadable, ["a", "b", "z"]);
    assert!(all.entries.keys().eq(["good"]));
}

#[tokio::test]
async fn migrating() {
    let tenant = "a:b".parse().unwrap();
    let (done, prepared) = oneshot::channel::<()>();
    let serving = Serving::start(tenant, MemoryStore::new(), options(), async {
        _ = prepared.await;
    })
    .await;
    for (_, answer) in every_call(serving.channel().await).await {
        refused(answer, Code::Unavailable, "MIGRATING");
    }
    done.send(()).unwrap();
    serving.client().await.store(store("s", "p")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn store_unavailable() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let serving = Serving::redis(&tenant, options()).await;
    let mut client = serving.client().await;
    // A Redis that answers but refuses to write is as unavailable as one that is gone.
    tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = client.store(store("s", "p")).await;
    refused(full, Code::Unavailable, "STORE_UNAVAILABLE");
    tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    client.store(store("s", "p")).await.unwrap();

    server.kill();
    let gone = client.get(get("s", "p")).await;
    refused(gone, Code::Unavailable, "STORE_UNAVAILABLE");
    server.restart();
    until("the broker serves again", || {
        let mut client = client.clone();
        async move { client.store(store("s", "p")).await.is_ok() }
    })
    .await;
}

/// The answer to a write is lost, and another caller may have written since: no client repeats the call by itself.
#[tokio::test(flavor = "multi_thread")]
async fn outcome_unknown() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let serving = Serving::redis(&tenant, options()).await;
    let mut direct = serving.client().await;
    let delete = || v1::DeleteRequest {
        session_id: session("s"),
        target: Some(Target::Provider("p".to_owned())),
        version: None,
    };
    // Redis knows the scripts from here on.
    direct.store(store("s", "p")).await.unwrap();
    direct.delete(delete()).await.unwrap();
    direct.store(store("s", "p")).await.unwrap();
    let losing = Arc::<AtomicBool>::default();
    let loses = Arc::clone(&losing);
    let proxy = RespProxy::start(server.port(), move |command| {
        // Health checks run scripts too, but none on the row of the provider `p`.
        let key = command.args.get(3);
        let writes = command.name() == "EVALSHA" && key.is_some_and(|key| key.ends_with(b":p"));
        let lost = writes && loses.swap(false, Ordering::SeqCst);
        async move { if lost { Fate::DropAfter } else { Fate::Forward } }
    })
    .await;
    let serving = Serving::redis(&tenant.at_port(proxy.port()), options()).await;
    let mut client = serving.client().await;

    losing.store(true, Ordering::SeqCst);
    let unknown = client.delete(delete()).await;
    refused(unknown, Code::Unavailable, "OUTCOME_UNKNOWN");
    let gone = direct.get(get("s", "p")).await;
    refused(gone, Code::NotFound, "ROW_NOT_FOUND");

    // A write that is found done is OK.
    losing.store(true, Ordering::SeqCst);
    let stored = client.store(store("s", "p")).await.unwrap().into_inner();
    let read = direct.get(get("s", "p")).await.unwrap().into_inner();
    assert_eq!(read.entry.unwrap().version, stored.version);
}
