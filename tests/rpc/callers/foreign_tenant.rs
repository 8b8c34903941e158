//! What a caller of one tenant sees of another tenant on the same Redis, and changes there: nothing, by no RPC, although it
//! knows every id.

use testkit::{
    broker::rules,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    snapshot::{Content, Snapshot},
    waiting::until,
};
use token_broker::{
    access::{Guard, Rights, Role, Rpc},
    server::Ready,
    store::redis::RedisStore,
    types::{ProviderSet, Reach},
};

use super::{
    planted::{CLIENT, MARK, Planted, ask, nothing},
    world::{OWN, World, client_id, policy_of_tenants, providers},
};
use crate::serving::{OfTenant, Serving, get_all, options};

fn rights(roles: &[Role], providers: ProviderSet, client: Option<&str>) -> Rights {
    let client = client.and_then(client_id);
    Rights {
        roles: roles.to_vec(),
        client_id: client.clone(),
        reach: Reach { providers, client },
        ..Rights::default()
    }
}

/// The callers of the tenant `two`: with all rights, and with fewer.
fn callers_of_two() -> Vec<(&'static str, Rights)> {
    vec![
        ("all of two", rights(&Role::ALL, ProviderSet::All, None)),
        (
            "at one provider of two",
            rights(&Role::ALL, providers(&[OWN]), None),
        ),
        (
            "for one client of two",
            rights(&Role::ALL, ProviderSet::All, Some(CLIENT)),
        ),
        (
            "auth server of two",
            rights(&[Role::AuthServer], ProviderSet::All, None),
        ),
        (
            "sidecar of two",
            rights(&[Role::Sidecar], ProviderSet::All, None),
        ),
        (
            "admin of two",
            rights(&[Role::Admin], ProviderSet::All, None),
        ),
    ]
}

/// Two tenants of one process, on one Redis.
struct Tenants {
    world: World,
    one: RedisTenant,
    two: RedisTenant,
}

impl Tenants {
    async fn start() -> Self {
        let one = RedisTenant::on(RedisServer::shared());
        let two = one.another();
        let names = [&one, &two].map(|tenant| tenant.name().to_string());
        let all = || rights(&Role::ALL, ProviderSet::All, None);
        let of_one = ["one", "another of one"].map(|name| (name, &*names[0], all()));
        let of_two = callers_of_two().into_iter();
        let of_two = of_two.map(|(name, rights)| (name, &*names[1], rights));
        let guard = Guard::of(policy_of_tenants(of_one.into_iter().chain(of_two)));
        let redis = one.redis();
        let tenants = [&one, &two].map(|tenant| -> OfTenant<RedisStore> {
            let name = tenant.name();
            (redis.tenant(name), rules(name.clone()), Box::new(Ready))
        });
        let serving = Serving::of_tenants(guard.clone(), tenants, options()).await;
        let world = World { serving, guard };
        for caller in ["one", "all of two"] {
            let caller = world.caller(caller).await;
            until("calls are admitted", || {
                let mut caller = caller.clone();
                async move { caller.broker.get_all(get_all("nobody")).await.is_ok() }
            })
            .await;
        }
        Self { world, one, two }
    }
}

/// Deletes all that a tenant has.
fn clear(tenant: &RedisTenant) {
    for name in tenant.snapshot().names() {
        tenant.run::<()>(&["DEL", &name]);
    }
}

/// Whether a planted secret is in any value.
fn has_planted_secret(snapshot: &Snapshot) -> bool {
    let has = |bytes: &Vec<u8>| {
        let mut windows = bytes.windows(MARK.len());
        windows.any(|window| window == MARK.as_bytes())
    };
    snapshot.0.values().any(|value| match &value.content {
        Content::Text(bytes) | Content::Other(bytes) => has(bytes),
        Content::Set(members) => members.iter().any(has),
    })
}

/// Whoever calls as the tenant `two` is told what it would be told if the tenant `one` had nothing, or that it may not call this.
/// Not a key of `one` changes, and nothing of it gets into those of `two`.
#[tokio::test]
async fn no_call_of_one_tenant_reaches_another() {
    let tenants = Tenants::start().await;
    let planted = Planted::by(&mut tenants.world.caller("one").await).await;
    let (before, mut allowed) = (tenants.one.snapshot(), Vec::new());
    assert!(has_planted_secret(&before), "the control");
    for (name, _) in callers_of_two() {
        let mut caller = tenants.world.caller(name).await;
        for rpc in Rpc::ALL {
            let found = ask(&mut caller, *rpc, &planted).await;
            let expected = nothing(*rpc);
            assert_eq!(found.len(), expected.len(), "{name}: {rpc}");
            for (found, expected) in found.iter().zip(expected) {
                let is_right = found == expected || found == "NOT_ALLOWED";
                assert!(is_right, "{name}: {rpc}: {found}");
            }
            if !found.iter().any(|told| told == "NOT_ALLOWED") {
                allowed.push((name, *rpc));
            }
            assert_eq!(tenants.one.snapshot(), before, "{name}: {rpc}");
            assert!(
                !has_planted_secret(&tenants.two.snapshot()),
                "{name}: {rpc}"
            );
            clear(&tenants.two);
        }
    }
    for rpc in Rpc::ALL {
        let by_all = ("all of two", *rpc);
        assert!(allowed.contains(&by_all), "a caller with all rights: {rpc}");
    }
}

/// The control: made by another caller of the same tenant, each of these calls tells of what was planted, or changes it.
#[tokio::test]
async fn every_call_of_another_tenant_would_be_seen_if_it_reached() {
    let tenants = Tenants::start().await;
    let mut one = tenants.world.caller("one").await;
    let mut another = tenants.world.caller("another of one").await;
    for rpc in Rpc::ALL {
        clear(&tenants.one);
        let planted = Planted::by(&mut one).await;
        let before = tenants.one.snapshot();
        let found = ask(&mut another, *rpc, &planted).await;
        let reached = found != nothing(*rpc) || tenants.one.snapshot() != before;
        assert!(reached, "{rpc}: {found:?}");
        assert!(!found.iter().any(|told| told == "NOT_ALLOWED"), "{rpc}");
    }
}
