//! A caller that takes all that it can, over as many connections as it likes, leaves enough to the others of its tenant.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use prost::Message;
use testkit::waiting::until;
use token_broker::{
    access::{Guard, Policy, Rights, Role, Rpc},
    config::ServerOptions,
    proto::v1,
    types::Reach,
};
use tokio::task::JoinHandle;
use tonic::{
    Code, Request, Status, client::Grpc, service::interceptor::InterceptedService,
    transport::Channel,
};
use tonic_prost::ProstCodec;

use super::world::{Asks, OWN, Shows, World, policy, providers};
use crate::{
    metrics::{value, values},
    serving::{Serving, options, store},
};

/// How many calls the broker has in flight at most.
const CALLS: usize = 64;
/// Longer than the calls that hang have to.
const LONG: Duration = Duration::from_secs(60);

fn two_callers() -> Policy {
    let rights = || Rights {
        roles: vec![Role::AuthServer],
        reach: Reach {
            providers: providers(&[OWN]),
            client: None,
        },
        ..Rights::default()
    };
    policy([("stolen", rights()), ("server", rights())])
}

async fn start(options: ServerOptions) -> World {
    let guard = Guard::of(two_callers());
    let serving = Serving::guarded(guard.clone(), options).await;
    let world = World { serving, guard };
    let server = world.caller("server").await;
    until("the broker stores a row", || {
        let mut server = server.clone();
        async move { server.call(Rpc::Store, Asks::at(OWN)).await.is_ok() }
    })
    .await;
    world
}

/// Begins a call of `caller` over a connection of its own that sends `first`, and never the rest.
async fn hanging(
    world: &World,
    caller: &str,
    first: Option<v1::StoreRequest>,
) -> JoinHandle<Option<Status>> {
    let channel = world.serving.channel().await;
    let shows = Shows::caller(caller);
    let mut grpc: Grpc<InterceptedService<Channel, Shows>> =
        Grpc::new(InterceptedService::new(channel, shows));
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<v1::StoreRequest, v1::StoreResponse>::default();
    let path = PathAndQuery::from_static("/tokenbroker.v1.TokenBroker/Store");
    let sent = stream::iter(first).chain(stream::pending());
    tokio::spawn(async move { grpc.streaming(Request::new(sent), path, codec).await.err() })
}

fn gauge(world: &World, name: &str) -> f64 {
    value(&values(&world.serving), name, &[])
}

/// Makes such calls until no more are admitted, and returns them, and how many were refused.
async fn flood(
    world: &World,
    caller: &str,
    calls: usize,
    message: Option<v1::StoreRequest>,
) -> (Vec<JoinHandle<Option<Status>>>, usize) {
    let size = message.as_ref().map_or(0, Message::encoded_len) as f64;
    let before = gauge(world, "token_broker_calls_in_flight");
    let held = gauge(world, "token_broker_bytes_in_flight");
    let mut all = Vec::new();
    for _ in 0..calls {
        all.push(hanging(world, caller, message.clone()).await);
    }
    until("each call is in flight or refused", || {
        let refused = all.iter().filter(|call| call.is_finished()).count();
        let in_flight = gauge(world, "token_broker_calls_in_flight") - before;
        // Each of them has arrived as far as it will.
        let bytes = gauge(world, "token_broker_bytes_in_flight") - held;
        let have_arrived = bytes >= in_flight * size;
        async move { refused as f64 + in_flight == calls as f64 && have_arrived }
    })
    .await;
    let (refused, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(JoinHandle::is_finished);
    let count = refused.len();
    for call in refused {
        let status = call.await.unwrap().unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
    (rest, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_cannot_take_all_calls() {
    let world = start(ServerOptions {
        max_calls: CALLS,
        call_timeout: LONG,
        ..options()
    })
    .await;
    // Alone it gets nearly everything.
    let (taken, refused) = flood(&world, "stolen", CALLS + 8, None).await;
    assert_eq!((taken.len(), refused), (CALLS * 3 / 4, CALLS / 4 + 8));
    let mut server = world.caller("server").await;
    server.call(Rpc::Get, Asks::at(OWN)).await.unwrap();
    // The next policy forgets nothing.
    world.guard.replace(two_callers());
    let mut stolen = world.caller("stolen").await;
    let refused = stolen.call(Rpc::Get, Asks::at(OWN)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    server.call(Rpc::Get, Asks::at(OWN)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_cannot_take_all_bytes() {
    let world = start(ServerOptions {
        max_bytes_in_flight: 5 * 1024 * 1024,
        call_timeout: LONG,
        ..options()
    })
    .await;
    // No row may be that large, but each of them is read first.
    let mut large = store("s", OWN);
    if let Some(tokens) = &mut large.tokens {
        tokens.access_token = "a".repeat(100 * 1024);
    }
    let (taken, refused) = flood(&world, "stolen", 70, Some(large.clone())).await;
    assert!(
        taken.len() > 30 && refused > 10,
        "{} {refused}",
        taken.len()
    );
    let (_held, refused) = flood(&world, "server", 3, Some(large)).await;
    assert_eq!(refused, 0);
    let mut server = world.caller("server").await;
    server.call(Rpc::Get, Asks::at(OWN)).await.unwrap();
}
