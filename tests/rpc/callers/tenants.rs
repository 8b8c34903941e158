//! Several tenants in one process: one that can't be migrated, and one that floods.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use testkit::{broker::rules, waiting::until};
use token_broker::{
    access::{Guard, Policy, Rights, Role, Rpc},
    server::{Ready, ServeError, Upkeep},
    store::{Error, MemoryStore, Observed, Observer, Operation},
    types::{ProviderSet, Reach},
};
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use super::world::{Asks, OWN, Shows, World, policy_of_tenants};
use crate::serving::{OfTenant, Serving, options};

const ONE: &str = "acme:one";
const TWO: &str = "acme:two";

/// The right to everything.
fn everything() -> Rights {
    Rights {
        roles: Role::ALL.to_vec(),
        reach: Reach {
            providers: ProviderSet::All,
            client: None,
        },
        ..Rights::default()
    }
}

/// A policy of the callers `one` and `two`, and of the tenants of these two.
fn policy() -> Policy {
    policy_of_tenants([("one", ONE, everything()), ("two", TWO, everything())])
}

fn tenant(name: &str, upkeep: impl Upkeep) -> OfTenant<MemoryStore> {
    (
        MemoryStore::new(),
        rules(name.parse().unwrap()),
        Box::new(upkeep),
    )
}

async fn world(policy: Policy, of_two: impl Upkeep) -> World {
    let guard = Guard::of(policy);
    let tenants = [tenant(ONE, Ready), tenant(TWO, of_two)];
    let serving = Serving::of_tenants(guard.clone(), tenants, options()).await;
    World { serving, guard }
}

/// Data that can't be made ready, or can't be kept so.
#[derive(Clone, Copy)]
enum Damaged {
    IsRefused,
    Panics,
    PanicsLater,
}

impl Upkeep for Damaged {
    fn prepare(&self) -> BoxFuture<'_, Result<(), ServeError>> {
        Box::pin(async {
            match self {
                Self::IsRefused => Err(ServeError::Unmigrated(3)),
                Self::Panics => panic!("as the test wants"),
                Self::PanicsLater => Ok(()),
            }
        })
    }

    fn stay(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { panic!("as the test wants") })
    }
}

#[tokio::test]
async fn a_tenant_that_is_not_migrated_refuses_only_its_own_calls() {
    for damaged in [Damaged::IsRefused, Damaged::Panics, Damaged::PanicsLater] {
        refuses_only_its_own_calls(damaged).await;
    }
}

async fn refuses_only_its_own_calls(damaged: Damaged) {
    let world = world(policy(), damaged).await;
    world.fill("one").await;
    let mut two = world.caller("two").await;
    for rpc in Rpc::ALL {
        let mut called = two.call(*rpc, Asks::at(OWN)).await;
        let is_served = |called: &Result<_, Status>| {
            !called
                .as_ref()
                .is_err_and(|status| status.code() == Code::Unavailable)
        };
        if let Damaged::PanicsLater = damaged
            && is_served(&called)
        {
            // Each second it is open for the moment until its upkeep panics again.
            called = two.call(*rpc, Asks::at(OWN)).await;
        }
        let refused = called.unwrap_err();
        let reason = refused.get_details_error_info().unwrap().reason;
        assert_eq!(
            (refused.code(), &*reason),
            (Code::Unavailable, "MIGRATING"),
            "{rpc:?}"
        );
    }
    let health = HealthClient::new(world.serving.channel().await);
    let serves = async |service: &str| {
        let service = service.to_owned();
        let answer = health.clone().check(HealthCheckRequest { service }).await;
        answer.unwrap().into_inner().status == 1
    };
    until("the broker is SERVING", || serves("")).await;
    assert!(serves("tenant/acme:one").await);
    assert!(!serves("tenant/acme:two").await);
    assert!(serves("tokenbroker.v1.TokenBroker").await);
}

/// Holds up each `Get`, until it is told to let them go.
struct Hangs(Option<Arc<Semaphore>>);

impl Observer for Hangs {
    async fn done(&self, operation: Operation, _: Option<&Error>, _: Duration) {
        if let (Operation::Get, Some(told)) = (operation, &self.0) {
            _ = told.acquire().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_floods_leaves_room_for_others() {
    const MOST: usize = 40;
    // What the only caller that calls gets of it.
    const OF_A_CALLER: usize = MOST * 3 / 4;
    let told = Arc::new(Semaphore::new(0));
    let of = |name: &str, told| -> OfTenant<_> {
        let store = Observed::new(MemoryStore::new(), Hangs(told));
        (store, rules(name.parse().unwrap()), Box::new(Ready))
    };
    let guard = Guard::of(policy());
    let mut options = options();
    options.max_calls_of_tenant = Some(MOST);
    // Longer than the test takes.
    options.call_timeout = Duration::from_secs(60);
    let tenants = [of(ONE, None), of(TWO, Some(Arc::clone(&told)))];
    let serving = Serving::of_tenants(guard.clone(), tenants, options).await;
    let world = World { serving, guard };
    world.fill("one").await;
    // Many connections, so that the bound of one connection isn't what helps.
    let connections = join_all((0..8).map(|_| world.connect(Shows::caller("two")))).await;
    let flood = (0..100).map(|number| {
        let mut two = connections[number % 8].clone();
        tokio::spawn(async move { two.call(Rpc::Get, Asks::at(OWN)).await })
    });
    let flood: Vec<_> = flood.collect();
    until("the caller has all of its places", || async {
        let refused = flood.iter().filter(|call| call.is_finished());
        refused.count() == 100 - OF_A_CALLER
    })
    .await;
    let mut one = world.caller("one").await;
    for _ in 0..100 {
        one.call(Rpc::Get, Asks::at(OWN)).await.unwrap();
    }
    told.add_permits(1_000);
    let mut overloaded = 0;
    for call in flood {
        let status = call.await.unwrap().unwrap_err();
        match status.code() {
            Code::ResourceExhausted => overloaded += 1,
            code => assert_eq!(code, Code::NotFound),
        }
    }
    assert_eq!(overloaded, 100 - OF_A_CALLER);
}
