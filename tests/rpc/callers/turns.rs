//! A caller that makes as many calls as it can leaves the processor to the others: what they wait for is counted in calls, so that
//! the machine's other work doesn't matter.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use token_broker::{
    access::{Guard, Rights, Role, Rpc},
    config::ServerOptions,
    proto::v1::token_broker_client::TokenBrokerClient,
    types::{ProviderSet, Reach},
};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Endpoint;

use super::world::{Asks, OWN, Shows, World, policy};
use crate::serving::{Serving, get, options};

fn rights() -> Rights {
    Rights {
        roles: vec![Role::AuthServer],
        reach: Reach {
            providers: ProviderSet::All,
            client: None,
        },
        ..Rights::default()
    }
}

async fn world() -> World {
    let guard = Guard::of(policy([("greedy", rights()), ("modest", rights())]));
    let options = ServerOptions {
        workers: Some(1),
        ..options()
    };
    let serving = Serving::guarded(guard.clone(), options).await;
    let world = World { serving, guard };
    world.fill("greedy").await;
    world
}

/// Makes as many calls as it can, in threads of its own, until the runtime that it returns is dropped.
async fn flood(world: &World, at_once: usize, served: &Arc<AtomicUsize>) -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for _ in 0..4 {
        let endpoint = format!("http://{}", world.serving.address());
        let endpoint = Endpoint::from_shared(endpoint).unwrap();
        let connecting = runtime.spawn(async move { endpoint.connect().await });
        let channel = connecting.await.unwrap().unwrap();
        for _ in 0..at_once / 4 {
            let shows = Shows::caller("greedy");
            let mut greedy = TokenBrokerClient::with_interceptor(channel.clone(), shows);
            let served = Arc::clone(served);
            runtime.spawn(async move {
                loop {
                    greedy.get(get("s", OWN)).await.unwrap();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    runtime
}

#[tokio::test]
async fn calls_of_a_caller_that_floods_come_after_those_of_others() {
    const AT_ONCE: usize = 128;
    let world = world().await;
    let served = Arc::<AtomicUsize>::default();
    let flood = flood(&world, AT_ONCE, &served).await;
    let mut modest = world.caller("modest").await;
    let mut meanwhile = Vec::new();
    for _ in 0..150 {
        let before = served.load(Ordering::Relaxed);
        modest.call(Rpc::Get, Asks::at(OWN)).await.unwrap();
        meanwhile.push(served.load(Ordering::Relaxed) - before);
    }
    flood.shutdown_background();
    meanwhile.sort_unstable();
    let median = meanwhile[meanwhile.len() / 2];
    // Without turns it is about as many as the greedy one has at once.
    assert!(median < AT_ONCE / 4, "{median} of {meanwhile:?}");
}
