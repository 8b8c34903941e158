//! Panics in the running program, with tokens in their messages: in a call, in a refresh, and in a loop in the background.

use std::{collections::BTreeMap, fs};

use testkit::{
    canary::{Search, Sink},
    waiting::until,
};
use tonic::Code;

use crate::{
    caller::{Caller, Told},
    panicking::{self, BACKGROUND, LATE, PANICS},
    provider::HANGS,
    rpcs::{Round, expired},
    world::{PATIENCE, Plan, World},
};

/// The places in [`Round::requests`].
const STORE: usize = 0;
const GET: usize = 1;
const GET_ALL: usize = 2;
const ACCESS: usize = 3;

/// Returns the world of a broker whose store panics.
async fn panicking(has_usual_hook: bool) -> World {
    let plan = Plan {
        program: panicking::program(has_usual_hook),
        ..Plan::shipped()
    };
    World::start(plan).await
}

/// Returns the calls of a session that the store panics about, of tokens that have expired.
fn round(world: &World, ends: &str) -> Round {
    Round {
        session: format!("{}{ends}{PANICS}", world.secrets.session),
        expires_at: expired(),
        ..Round::good(&world.secrets)
    }
}

/// Makes a call, and returns the code that it ends with.
async fn code(world: &World, caller: &Caller, round: &Round, at: usize) -> Code {
    let (rpc, request) = round.requests().swap_remove(at);
    match caller.call(rpc, request, PATIENCE).await {
        Some(_) => Code::Ok,
        None => world.told.last().unwrap().code(),
    }
}

/// Makes a call that panics, and another one that doesn't.
async fn once(world: &World, caller: &Caller, round: &Round, at: usize) {
    assert_eq!(code(world, caller, round, at).await, Code::Internal);
    let status = world.told.last().unwrap();
    assert_eq!(status.message(), "the broker failed");
    assert!(status.details().is_empty());
    let pushback = status.metadata().get("grpc-retry-pushback-ms");
    assert_eq!(pushback.unwrap(), "-1", "it isn't repeated unseen");
    assert_eq!(code(world, caller, round, at).await, Code::Ok);
}

/// The lines that tell of panics.
fn lines(world: &World) -> Vec<String> {
    let log = world.process.log();
    let lines = log.lines().filter(|line| line.starts_with("thread '"));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_tells_no_secret_and_ends_nothing_but_its_own_call() {
    let mut world = panicking(false).await;
    let search = Search::new(&world.secrets.canaries());
    let auth = world.auth().await;
    // A call over the same connection that waits for a provider all the while.
    let meanwhile = Round {
        provider: HANGS.to_owned(),
        expires_at: expired(),
        ..Round::good(&world.secrets)
    };
    assert_eq!(code(&world, &auth, &meanwhile, STORE).await, Code::Ok);
    // What was told last is the other calls'.
    let meanwhile_told = Told::default();
    let waits = {
        let auth = auth.telling(&meanwhile_told);
        let (rpc, request) = meanwhile.requests().swap_remove(ACCESS);
        tokio::spawn(async move { auth.call(rpc, request, PATIENCE).await })
    };
    until("the provider is asked", async || {
        !world.endpoint.received_at("/token/hangs").is_empty()
    })
    .await;
    // Calls.
    let round_of_calls = round(&world, "");
    for at in [STORE, GET, GET_ALL] {
        once(&world, &auth, &round_of_calls, at).await;
    }
    let (mut internal, mut panics) = (BTreeMap::new(), 3);
    for rpc in ["TokenBroker/Store", "TokenBroker/Get", "TokenBroker/GetAll"] {
        internal.insert(rpc.to_owned(), 1);
    }
    // A refresh, before it has a place at the provider and when it has the only one. Each is as if it had never begun.
    for _ in 0..2 {
        let told = code(&world, &auth, &round_of_calls, ACCESS).await;
        assert_eq!(told, Code::Unavailable);
        panics += 1;
    }
    assert_eq!(code(&world, &auth, &round_of_calls, ACCESS).await, Code::Ok);
    assert_eq!(world.endpoint.received_at("/token/good").len(), 1);
    // A refresh that has the provider's answer. The calls of its row before that panic, too.
    let late = round(&world, LATE);
    for at in [STORE, GET] {
        once(&world, &auth, &late, at).await;
        panics += 1;
        *internal.get_mut(late.requests()[at].0).unwrap() += 1;
    }
    for _ in 0..3 {
        let told = code(&world, &auth, &late, ACCESS).await;
        assert_eq!(told, Code::Unavailable);
        panics += 1;
    }
    assert_eq!(world.endpoint.received_at("/token/good").len(), 2);
    // The look whether the store works.
    let background = round(&world, BACKGROUND);
    once(&world, &auth, &background, STORE).await;
    panics += 2;
    *internal.get_mut("TokenBroker/Store").unwrap() += 1;
    until("a look panics", async || lines(&world).len() == panics).await;
    // It goes on, for all others.
    let other = Round::good(&world.secrets);
    for at in [STORE, GET, GET_ALL, ACCESS] {
        assert_eq!(code(&world, &auth, &other, at).await, Code::Ok);
    }
    assert_eq!(waits.await.unwrap(), None);
    let ends = &meanwhile_told.ends()["AccessTokens/GetAccessToken"];
    assert!(!ends.contains("Cancelled"), "{ends:?}");
    // Nothing is held by what panicked.
    let mut held = Vec::new();
    until("nothing is held", || {
        held = gauges(&world.scrape());
        let is_free = !held.is_empty() && held.iter().all(|line| line.ends_with(" 0"));
        async move { is_free }
    })
    .await;
    let counted = format!("token_broker_panics_total {panics}\n");
    assert!(world.scrape().contains(&counted), "{counted}");
    let told = lines(&world);
    assert_eq!(told.len(), panics, "{told:#?}");
    for line in told {
        let (_, place) = line.split_once("' panicked at ").unwrap();
        let numbers = place.strip_prefix("tests/canaries/panicking.rs:").unwrap();
        let is_number = |c: char| c.is_ascii_digit() || c == ':';
        assert!(numbers.chars().all(is_number), "{line}");
    }
    let audit = world.file("audit.jsonl");
    let mut sinks = world.shown_by_the_system();
    let keep = fs::File::open(&audit).unwrap();
    sinks.push(Sink::new("errors", meanwhile_told.errors()));
    sinks.extend(world.sinks().await);
    let leaks = search.leaks(&sinks);
    assert!(leaks.is_empty(), "{leaks:#?}");
    let mut found = BTreeMap::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(keep)) {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["code"] == "INTERNAL" {
            assert_eq!(event["caller"], "auth");
            let rpc = event["rpc"].as_str().unwrap().to_owned();
            *found.entry(rpc).or_default() += 1;
        }
    }
    assert_eq!(found, internal, "each call that panicked has its event");
}

/// Returns the lines of the metrics that count what is held for calls.
fn gauges(metrics: &str) -> Vec<String> {
    let held = [
        "token_broker_calls_in_flight ",
        "token_broker_calls_waiting_for_providers ",
        "token_broker_bytes_in_flight ",
        "token_broker_tenant_calls_in_flight{",
        "token_broker_provider_calls_running{",
        "token_broker_provider_callers_waiting{",
        "token_broker_audit_waiting ",
    ];
    let is_held = |line: &&str| held.iter().any(|name| line.starts_with(name));
    metrics.lines().filter(is_held).map(str::to_owned).collect()
}

/// The control: the same panics, told by the hook that every program has.
#[tokio::test(flavor = "multi_thread")]
async fn the_usual_hook_would_tell_the_tokens() {
    let world = panicking(true).await;
    let search = Search::new(&world.secrets.canaries());
    let auth = world.auth().await;
    let round = round(&world, "");
    for at in [STORE, GET, GET_ALL] {
        once(&world, &auth, &round, at).await;
    }
    let sinks = world.sinks().await;
    for sink in &sinks {
        let mut kinds: Vec<_> = search.kinds_in(&sink.bytes).into_iter().collect();
        kinds.retain(|kind| !sink.allowed.contains(kind));
        let told: &[_] = match sink.name {
            "log" => &["ID token", "access token", "refresh token"],
            _ => &[],
        };
        assert_eq!(kinds, told, "{}", sink.name);
    }
}
