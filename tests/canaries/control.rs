//! The controls: what a broker would show that leaks, one secret of each kind in each place that is looked at, is found there.

use std::collections::{BTreeMap, BTreeSet};

use testkit::canary::{Search, Sink};

use crate::{
    SINKS,
    caller::Told,
    commands::of_the_settings,
    debugged, redis,
    refusing::{PLACES, Refusing},
    rpcs::{Round, expired},
    secrets::Secrets,
    world::{PATIENCE, Plan, World},
};

/// The kinds in each sink.
type Found = BTreeMap<&'static str, BTreeSet<&'static str>>;

fn found(search: &Search, sinks: &[Sink]) -> Found {
    let kinds = |sink: &Sink| (sink.name, search.kinds_in(&sink.bytes));
    sinks.iter().map(kinds).collect()
}

/// Without sealing Redis has everything, and so has whoever can look into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_seal_is_caught() {
    let plan = Plan {
        is_sealed: false,
        ..Plan::shipped()
    };
    let world = World::start(plan).await;
    let search = Search::new(&world.secrets.canaries());
    let auth = world.auth().await;
    let requests = Round::good(&world.secrets).requests();
    let created = requests.last().unwrap();
    for (rpc, request) in requests[..4].iter().chain([created]) {
        auth.call(rpc, request.clone(), PATIENCE).await;
    }
    let found = found(&search, &world.sinks().await);
    let stored = BTreeSet::from([
        "access token",
        "refresh token",
        "ID token",
        "session id",
        "payload",
        "state",
    ]);
    for name in ["monitor", "RDB", "AOF"] {
        assert_eq!(found[name], stored, "{name}");
    }
    // It cuts off what is long.
    assert!(found["slow log"].contains("access token"));
}

/// Secrets of all kinds stand where names should, which are told everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_leaks_is_caught() {
    let plan = Plan {
        is_careless: true,
        ..Plan::shipped()
    };
    let mut world = World::start(plan).await;
    let secrets = &world.secrets;
    let names = secrets.names();
    let search = Search::new(&secrets.canaries());
    let auth = world.auth().await;
    for name in names.values() {
        let misnamed = Round {
            provider: name.clone(),
            expires_at: expired(),
            ..Round::good(secrets)
        };
        for (rpc, request) in &misnamed.requests()[..4] {
            auth.call(rpc, request.clone(), PATIENCE).await;
        }
        redis::log(&world.redis, name);
    }
    let mut sinks = vec![
        Sink::new("commands", of_the_settings(&world, "providers").await.all()),
        Sink::new("Debug", debugged::printed(&Careless(&names))),
    ];
    sinks.extend(world.shown_by_the_system());
    world.scrape();
    let errors = told_by_errors(&world.secrets, &search).await;
    sinks.extend(world.sinks().await);
    let mut found = found(&search, &sinks);
    // No error of the broker's own has a place for a name.
    assert!(found["errors"].is_empty(), "{found:?}");
    found.insert("errors", errors);
    let all: BTreeSet<_> = names.into_keys().collect();
    assert_eq!(all.len(), 14, "{all:?}");
    let expected: Found = SINKS.iter().map(|name| (*name, all.clone())).collect();
    assert_eq!(found, expected);
}

/// A value that prints what it has.
#[derive(Debug)]
#[expect(dead_code, reason = "it is printed alone")]
struct Careless<'a>(&'a BTreeMap<&'static str, String>);

/// Returns what is found in errors that tell everything, which is the same in each of their parts.
async fn told_by_errors(secrets: &Secrets, search: &Search) -> BTreeSet<&'static str> {
    let text = secrets.names().into_values().collect::<Vec<_>>().join(" ");
    let kinds = PLACES.map(async |place| {
        let told = Told::default();
        let caller = Refusing {
            place,
            text: text.clone(),
        }
        .caller(&told)
        .await;
        caller.call("TokenBroker/Get", Vec::new(), PATIENCE).await;
        search.kinds_in(&told.errors())
    });
    let kinds = futures_util::future::join_all(kinds).await;
    assert!(kinds.iter().all(|found| *found == kinds[0]), "{kinds:?}");
    kinds[0].clone()
}
