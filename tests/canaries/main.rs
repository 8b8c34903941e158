//! Planted secrets of every kind, through every RPC, error, refresh, reload, command and shutdown: none may be found in what
//! a broker lets others see.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod caller;
mod collector;
mod commands;
mod debugged;
mod panicking;
mod panics;
mod provider;
mod redis;
mod round;
mod rpcs;
mod secrets;
mod world;

use std::collections::BTreeSet;

use testkit::canary::{Search, Sink};

use self::{
    round::{at_an_outage, at_the_end, of_all_calls, of_reloads},
    rpcs::Round,
    world::{Plan, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_shows_a_secret() {
    let mut world = World::start(Plan::shipped(true)).await;
    let search = Search::new(&world.secrets.canaries());
    of_all_calls(&world).await;
    world.scrape();
    let mut sinks = vec![Sink::new("commands", commands::printed(&world).await)];
    of_reloads(&world).await;
    sinks.extend(redis::sinks(&world.redis, &world.monitor).await);
    sinks.extend(world.shown_by_the_system());
    sinks.push(debugged::sink(&world.secrets));
    at_an_outage(&world).await;
    world.scrape();
    at_the_end(&world).await;
    sinks.extend(world.sinks().await);
    for sink in &sinks {
        assert!(!sink.bytes.is_empty(), "nothing is known of {}", sink.name);
    }
    let leaks = search.leaks(&sinks);
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// The control: without sealing, and with log lines that have secrets in them, because they stand where names should.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_leaks_is_caught() {
    let mut world = World::start(Plan::shipped(false)).await;
    let search = Search::new(&world.secrets.canaries());
    let auth = world.auth().await;
    let misnamed = Round {
        // The log names providers that aren't configured. The audit trail names all.
        provider: world.secrets.access[..30].to_owned(),
        expires_at: 1,
        ..Round::good(&world.secrets)
    };
    let requests = misnamed.requests();
    let created = requests.last().unwrap();
    for (rpc, request) in requests[..4].iter().chain([created]) {
        auth.call(rpc, request.clone(), world::PATIENCE).await;
    }
    // Traces and metrics name those that are.
    let configured = Round {
        provider: provider::misnamed(&world.secrets).to_owned(),
        ..misnamed
    };
    for (rpc, request) in &configured.requests()[..4] {
        auth.call(rpc, request.clone(), world::PATIENCE).await;
    }
    world.scrape();
    let mut sinks = redis::sinks(&world.redis, &world.monitor).await;
    sinks.extend(world.sinks().await);
    let found = |name: &str| {
        let sink = sinks.iter().find(|sink| sink.name == name).unwrap();
        search.kinds_in(&sink.bytes)
    };
    let all = BTreeSet::from([
        "access token",
        "refresh token",
        "ID token",
        "session id",
        "payload",
        "state",
    ]);
    for name in ["monitor", "RDB", "AOF"] {
        assert_eq!(found(name), all, "{name}");
    }
    // It cuts off what is long.
    assert!(found("slow log").contains("access token"));
    for (name, told) in [
        ("log", &["access token", "ID token"][..]),
        ("audit", &["access token", "ID token"]),
        ("metrics", &["ID token"]),
        ("traces", &["ID token"]),
    ] {
        let told = told.iter().copied().collect();
        assert_eq!(found(name), told, "{name}");
    }
}
