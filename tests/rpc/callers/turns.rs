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
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use super::world::{Asks, OWN, Shows, World, policy};
use crate::serving::{Serving, get, get_all, options, store};

/// How many calls the greedy caller makes at once.
const AT_ONCE: usize = 128;
/// How many rows there are where it reads many.
const ROWS: usize = 60;

type Greedy = TokenBrokerClient<InterceptedService<Channel, Shows>>;

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

/// What the greedy caller does again and again.
#[derive(Clone, Copy)]
enum Does {
    Gets,
    /// Reads a session of [`ROWS`] rows.
    Reads,
}

impl Does {
    async fn once(self, greedy: &mut Greedy) {
        match self {
            Self::Gets => drop(greedy.get(get("s", OWN)).await.unwrap()),
            Self::Reads => {
                let rows = greedy.get_all(get_all("full")).await.unwrap().into_inner();
                assert_eq!(rows.entries.len(), ROWS);
            }
        }
    }
}

/// Does this as often as it can, in threads of its own, until the runtime that it returns is dropped.
async fn flood(world: &World, does: Does, served: &Arc<AtomicUsize>) -> Runtime {
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
        for _ in 0..AT_ONCE / 4 {
            let shows = Shows::caller("greedy");
            let mut greedy = TokenBrokerClient::with_interceptor(channel.clone(), shows);
            let served = Arc::clone(served);
            runtime.spawn(async move {
                loop {
                    does.once(&mut greedy).await;
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    runtime
}

/// Returns how often the greedy caller is served during a call of the modest one: the median of many.
async fn served_meanwhile(world: World, does: Does, calls: usize) -> usize {
    let served = Arc::<AtomicUsize>::default();
    let flood = flood(&world, does, &served).await;
    let mut modest = world.caller("modest").await;
    let mut meanwhile = Vec::new();
    for _ in 0..calls {
        let before = served.load(Ordering::Relaxed);
        modest.call(Rpc::Get, Asks::at(OWN)).await.unwrap();
        meanwhile.push(served.load(Ordering::Relaxed) - before);
    }
    flood.shutdown_background();
    meanwhile.sort_unstable();
    meanwhile[meanwhile.len() / 2]
}

/// Checks that it is less than this. The greedy caller goes on being served while the test waits for a core, which only adds to
/// it: so the least of some medians counts.
async fn is_served_less(than: usize, mut meanwhile: impl AsyncFnMut() -> usize) {
    let mut least = usize::MAX;
    for _ in 0..3 {
        least = least.min(meanwhile().await);
        if least < than {
            return;
        }
    }
    panic!("{least}");
}

#[tokio::test]
async fn calls_of_a_caller_that_floods_come_after_those_of_others() {
    // Without turns it is about as many as the greedy one has at once.
    is_served_less(AT_ONCE / 4, async || {
        served_meanwhile(world().await, Does::Gets, 150).await
    })
    .await;
}

/// A read of many rows counts as several calls.
#[tokio::test]
async fn reads_of_many_rows_come_after_the_calls_of_others() {
    // If each counted as one call, eight would have their turns at once.
    is_served_less(4, async || {
        let world = world().await;
        let mut greedy = world.caller("greedy").await;
        for row in 0..ROWS {
            let row = store("full", &format!("p{row}"));
            greedy.broker.store(row).await.unwrap();
        }
        served_meanwhile(world, Does::Reads, 50).await
    })
    .await;
}
