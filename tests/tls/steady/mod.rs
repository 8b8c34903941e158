//! Certificate, key, authorities, policy, sealing keys and a client secret are swapped again and again under a steady load.
//! `RELOADS=full` is the long form: 5,000 calls/s for some minutes, with figures. It wants a release build and a quiet machine.

mod load;
mod secrets;
mod world;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{authority::Wanted, waiting::until};
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tonic::{Code, Status, transport::Channel};

use self::{
    load::{CONNECTIONS, Keepers, Refreshing, read},
    world::World,
};
use crate::{
    broker::{called, channel_to, request, served},
    raw::Seen,
};

/// How long a connection may go on whose caller may not call any more.
const GRACE: Duration = Duration::from_secs(1);
/// How late a machine that others use may be with anything.
const LATE: Duration = Duration::from_secs(15);

/// How much of everything.
struct Sizes {
    is_full: bool,
    calls_per_second: usize,
    /// Of three, the sealing keys are rotated once.
    swaps: usize,
    between_refreshes: Duration,
    /// How long each state is in force.
    between: Duration,
}

fn sizes() -> Sizes {
    let is_full = env::var("RELOADS").is_ok_and(|value| value == "full");
    Sizes {
        is_full,
        calls_per_second: if is_full { 5_000 } else { 400 },
        swaps: if is_full { 60 } else { 3 },
        between_refreshes: Duration::from_millis(if is_full { 10 } else { 50 }),
        between: Duration::from_millis(if is_full { 2_000 } else { 200 }),
    }
}

/// Who ends with its connection, or isn't known any more, is served until the files are in force that say so, and not later; all
/// others are served all the time, over the connections that they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_load_while_everything_is_swapped() {
    let sizes = sizes();
    let mut world = World::start().await;
    let other = world
        .broker
        .clients
        .sign(&Wanted::nobody().dns_name("other.test"));
    let other = world.broker.config(Some(&other));
    let mut other = world.broker.client(other).await.unwrap();
    let provider = Arc::clone(&world.secrets.provider);
    let keepers = Keepers::begin(&world.broker, &provider, &sizes).await;
    let begun = Instant::now();
    let mut latest_end = Duration::ZERO;
    for _ in 0..sizes.swaps {
        let (address, guest) = (world.broker.process.address(), world.guest());
        let silent = world.broker.heedless(Arc::clone(&guest)).await;
        let silent = tokio::spawn(silent.stay(Duration::from_secs(60)));
        called(address, Arc::clone(&guest)).await.unwrap();
        tokio::time::sleep(sizes.between).await;

        world.swap().await;
        let swapped = Instant::now();
        let answer = other.get(request()).await.map(drop);
        is_as_the_policy_says(answer, world.generation.is_multiple_of(2));
        // The connection that it has is told to go, and the next one is refused.
        until("the guest isn't served", || async {
            called(address, Arc::clone(&guest)).await.is_err()
        })
        .await;
        let not_served = swapped.elapsed();
        assert!(not_served < LATE, "{not_served:?}");
        let Seen { told, ended } = silent.await.unwrap();
        let (told, ended) = (told.unwrap(), ended.unwrap());
        let lasted = ended.saturating_duration_since(swapped);
        assert!(told <= ended && lasted < GRACE + LATE, "{lasted:?}");
        latest_end = latest_end.max(lasted);
        keepers.turned_over().await;
        world.secrets.settle().await;
    }
    let span = begun.elapsed();
    let (took, refreshes) = keepers.end().await;
    assert_eq!(provider.strangers(), 0, "an old client secret was used");
    let rate = took.len() as f64 / span.as_secs_f64();
    let at = |of_a_thousand: usize| took[(took.len() - 1) * of_a_thousand / 1000];
    println!(
        "{} swaps, {} reads over {CONNECTIONS} connections ({rate:.0} a second) and {refreshes} refreshes, none failed: p50 {:.1?}, \
         p99 {:.1?}, p99.9 {:.1?}, at most {:.1?}. The last connection of a client that lost its right ended {latest_end:.1?} after that",
        sizes.swaps,
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000),
    );
    let log = world.broker.process.log();
    assert!(!log.contains("can't be used"), "{log}");
    fails_without_its_secrets(&mut world).await;
    if sizes.is_full {
        // Otherwise it isn't the load that the figures are about. The short form is for busy machines.
        let wanted = sizes.calls_per_second as f64;
        assert!(
            rate > 0.95 * wanted,
            "{rate:.0} calls/s came about of {wanted}"
        );
    }
}

/// The control: the load would have failed with another client secret, and with other sealing keys.
async fn fails_without_its_secrets(world: &mut World) {
    let good = world.broker.config(Some(&world.broker.good()));
    let channel = channel_to(world.broker.process.address(), good)
        .await
        .unwrap();
    let refreshing = Refreshing {
        session: "refreshed-0".to_owned(),
        provider: Arc::clone(&world.secrets.provider),
        channel: channel.clone(),
    };
    refreshing.once().await.unwrap();
    world.secrets.lose_client_secret();
    let refused = refreshing.once().await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    let mut client: TokenBrokerClient<Channel> = TokenBrokerClient::new(channel);
    read(&mut client, "kept-0").await.unwrap();
    world.secrets.lose_keys();
    world.broker.process.signal("HUP");
    until("the row can't be opened", || {
        let mut client = client.clone();
        async move {
            let answer = read(&mut client, "kept-0").await;
            answer.is_err_and(|status| status.code() == Code::Unavailable)
        }
    })
    .await;
}

/// Panics unless the other caller is answered as the policy in force says.
fn is_as_the_policy_says(answer: Result<(), Status>, is_known: bool) {
    match is_known {
        true => served(answer).unwrap(),
        false => assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated),
    }
}
