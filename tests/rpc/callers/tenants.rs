//! Several tenants in one process.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use testkit::{broker::rules, waiting::until};
use token_broker::{
    access::{Guard, Policy, Rights, Role, Rpc},
    proto::v1,
    server::{Ready, ServeError, Upkeep},
    store::{Error, MemoryStore, Observed, Observer, Operation},
    types::{ProviderSet, Reach},
};
use tokio::sync::Semaphore;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use super::world::{Asks, FOREIGN, OWN, Shows, World, policy_of_tenants};
use crate::{
    every_rpc::{identity, pending},
    serving::{OfTenant, Serving, get, get_all, options, session},
};

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
fn policy(tenant_of_two: &'static str) -> Policy {
    policy_of_tenants([
        ("one", ONE, everything()),
        ("two", tenant_of_two, everything()),
    ])
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

/// The caller `one` stores rows, and `two` makes each call about the same ids. Returns how many rows and sessions `two` saw,
/// changed or deleted.
async fn reached_by_two(tenant_of_two: &'static str) -> u64 {
    let world = world(policy(tenant_of_two), Ready).await;
    world.fill("one").await;
    let mut two = world.caller("two").await;
    until("calls of the other tenant are admitted", || {
        let mut two = two.clone();
        async move { two.broker.get_all(get_all("nobody")).await.is_ok() }
    })
    .await;
    let mut reached = 0;
    // These answer NOT_FOUND where there is no row. The others tell what they found.
    for rpc in [
        Rpc::Get,
        Rpc::GetAccessToken,
        Rpc::GetLatestForUser,
        Rpc::BeginRefresh,
    ] {
        match two.call(rpc, Asks::at(OWN)).await {
            Err(status) if status.code() == Code::NotFound => {}
            _ => reached += 1,
        }
    }
    reached += two
        .broker
        .get_all(get_all("s"))
        .await
        .unwrap()
        .into_inner()
        .entries
        .len() as u64;
    let all = v1::GetAllAccessTokensRequest {
        session_id: session("s"),
        ..Default::default()
    };
    let all = two
        .access
        .get_all_access_tokens(all)
        .await
        .unwrap()
        .into_inner();
    reached += (all.tokens.len() + all.failed.len()) as u64;
    let listing = v1::ListUserSessionsRequest {
        user_id: "u".to_owned(),
        ..Default::default()
    };
    let listed = two.broker.list_user_sessions(listing).await.unwrap();
    reached += listed.into_inner().sessions.len() as u64;
    let delete = v1::DeleteRequest {
        session_id: session("s"),
        target: Some(v1::delete_request::Target::Provider(FOREIGN.to_owned())),
        version: None,
    };
    reached += two
        .broker
        .delete(delete)
        .await
        .unwrap()
        .into_inner()
        .deleted;
    let user_id = "u".to_owned();
    let deleted = two
        .broker
        .delete_user(v1::DeleteUserRequest { user_id })
        .await;
    reached += deleted.unwrap().into_inner().deleted_rows;
    reached += flows_reached_by_two(&world).await;
    let mut one = world.caller("one").await;
    for provider in [OWN, FOREIGN] {
        let still = one.broker.get(get("s", provider)).await;
        reached += u64::from(still.is_err());
    }
    reached
}

/// The same for a user and a pending authorization.
async fn flows_reached_by_two(world: &World) -> u64 {
    let (mut one, mut two) = (world.caller("one").await, world.caller("two").await);
    let made = one.users.resolve_user(identity(OWN)).await.unwrap();
    let user_id = made.into_inner().user_id;
    one.pending.create(pending("state", OWN)).await.unwrap();
    let mut reached = 0;
    let get = || v1::GetUserRequest {
        user_id: user_id.clone(),
    };
    reached += u64::from(two.users.get_user(get()).await.is_ok());
    let list = v1::ListIdentitiesRequest {
        user_id: user_id.clone(),
    };
    let listed = two.users.list_identities(list).await.unwrap().into_inner();
    reached += listed.identities.len() as u64;
    let link = v1::LinkIdentityRequest {
        user_id: user_id.clone(),
        provider: OWN.to_owned(),
        provider_subject: "another".to_owned(),
    };
    reached += u64::from(two.users.link_identity(link).await.is_ok());
    let unlink = v1::UnlinkIdentityRequest {
        provider: OWN.to_owned(),
        provider_subject: "subject".to_owned(),
        user_id: None,
    };
    let unlinked = two.users.unlink_identity(unlink).await.unwrap();
    reached += u64::from(unlinked.into_inner().unlinked);
    // The same subject is somebody else there.
    let other = two.users.resolve_user(identity(OWN)).await.unwrap();
    reached += u64::from(!other.get_ref().created || other.get_ref().user_id == user_id);
    let consume = || v1::ConsumeRequest {
        state: session("state"),
        provider: None,
    };
    // Its state is free there, too.
    let taken = two.pending.create(pending("state", OWN)).await;
    reached += u64::from(taken.is_err());
    reached += u64::from(two.pending.consume(consume()).await.is_err());
    reached += u64::from(one.pending.consume(consume()).await.is_err());
    let still = one.users.resolve_user(identity(OWN)).await.unwrap();
    reached + u64::from(still.into_inner().user_id != user_id)
}

#[tokio::test]
async fn no_call_of_one_tenant_reaches_another() {
    assert_eq!(reached_by_two(TWO).await, 0);
    assert!(
        reached_by_two(ONE).await > 9,
        "the control: it would be seen"
    );
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
    let world = world(policy(TWO), damaged).await;
    world.fill("one").await;
    let mut two = world.caller("two").await;
    for rpc in Rpc::ALL {
        let refused = two.call(*rpc, Asks::at(OWN)).await.unwrap_err();
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
    let guard = Guard::of(policy(TWO));
    let mut options = options();
    options.max_calls_of_tenant = Some(MOST);
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
