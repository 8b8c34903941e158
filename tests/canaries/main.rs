//! Planted secrets of every kind, through every RPC, error, refresh, reload, command and shutdown: none may be found in what
//! a broker lets others see.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod caller;
mod collector;
mod commands;
mod control;
mod debugged;
mod faults;
mod panicking;
mod panics;
mod provider;
mod raw_service;
mod reasons;
mod redis;
mod refusing;
mod round;
mod rpcs;
mod secrets;
mod world;

use std::collections::BTreeSet;

use testkit::canary::{Search, Sink};

use self::{
    round::{at_an_outage, at_the_end, of_all_calls, of_reloads},
    secrets::{SESSION, STATE},
    world::{Plan, World},
};

/// The places where secrets are looked for.
const SINKS: [&str; 14] = [
    "log",
    "audit",
    "metrics",
    "traces",
    "errors",
    "Debug",
    "commands",
    "command line",
    "environment",
    "monitor",
    "slow log",
    "RDB",
    "AOF",
    "log of Redis",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_shows_a_secret() {
    let mut world = World::start(Plan::shipped()).await;
    let search = Search::new(&world.secrets.canaries());
    of_all_calls(&world).await;
    world.scrape();
    let mut sinks = vec![Sink::new("commands", commands::printed(&world).await)];
    let of_damage = faults::of_damage(&world).await;
    // A report names the keys, so that an operator finds them. The log doesn't.
    sinks.push(Sink::new("commands", of_damage.stdout).allowing(&[SESSION, STATE]));
    sinks.push(Sink::new("commands", of_damage.stderr));
    faults::of_another_key(&world).await;
    faults::of_a_full_disk(&world).await;
    reasons::of_what_is_stored(&world).await;
    reasons::of_a_narrow_broker(&mut world).await;
    reasons::of_a_broker_without_replicas(&mut world).await;
    of_reloads(&world).await;
    sinks.extend(redis::sinks(&world.redis, &world.monitor).await);
    sinks.extend(world.shown_by_the_system());
    sinks.push(debugged::sink(&world.secrets));
    at_an_outage(&mut world).await;
    world.scrape();
    at_the_end(&world).await;
    reasons::all_were_told(&world);
    sinks.extend(world.sinks().await);
    for sink in &sinks {
        assert!(!sink.bytes.is_empty(), "nothing is known of {}", sink.name);
    }
    let names: BTreeSet<_> = sinks.iter().map(|sink| sink.name).collect();
    assert_eq!(names, SINKS.into(), "the control has them all");
    let leaks = search.leaks(&sinks);
    assert!(leaks.is_empty(), "{leaks:#?}");
}
