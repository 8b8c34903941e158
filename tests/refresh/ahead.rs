//! When a token is refreshed that is still valid, and when one is that seems to be.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use testkit::{
    reserved_port::ReservedPort,
    rotating_provider::{Fault, RotatingProvider, Rules},
    waiting::until,
};
use token_broker::{
    refresh::provider::ProviderOptions,
    store::MemoryStore,
    tokens::Wanted,
    types::{RowKey, UnixTime},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    brokers::{Process, access_token, ending, expired, key, options},
    naive::Naive,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A provider whose tokens live so many seconds, two brokers, and the key of a row.
struct Scene {
    provider: RotatingProvider,
    store: Arc<MemoryStore>,
    brokers: Vec<Process<Arc<MemoryStore>>>,
    key: RowKey,
}

impl Scene {
    async fn new(expires_in: Option<u64>, change: impl Fn(&mut ProviderOptions)) -> Self {
        let rules = Rules {
            expires_in,
            ..Rules::default()
        };
        let provider = RotatingProvider::start(rules).await;
        let store = Arc::new(MemoryStore::new());
        let mut options = options(&provider);
        change(&mut options);
        Self {
            brokers: Process::start_all(2, &store, &options),
            provider,
            store,
            key: key("s"),
        }
    }

    /// Puts a row there whose token has so many seconds left of an hour.
    async fn with_left(&self, seconds: i64) {
        let row = ending(&self.provider.log_in(), seconds);
        self.brokers[0].plant(&self.key, &row).await;
    }

    async fn access_token(&self, broker: usize, min_validity: Option<Duration>) -> String {
        let wanted = Wanted {
            min_validity,
            ..Wanted::default()
        };
        let got = self.brokers[broker].get(&self.key, wanted).await.unwrap();
        access_token(&got).to_owned()
    }

    fn redemptions(&self) -> usize {
        let tally = self.provider.tally();
        assert_eq!(tally.replays, 0);
        tally.redemptions
    }
}

/// Returns how many refreshes there are at most since then, if one comes at once and then one in each two seconds. Times are
/// counted in whole seconds, which may make it one more.
fn once_in_two_seconds(began: Instant) -> usize {
    2 + usize::try_from(began.elapsed().as_secs() / 2).unwrap()
}

/// A caller wants more than the provider gives: no more than one refresh in half of a life comes of it.
#[tokio::test]
async fn callers_want_more_than_tokens_live() {
    let scene = Scene::new(Some(4), |_| {}).await;
    let row = expired(&scene.provider.log_in());
    scene.brokers[0].put(&scene.key, row.clone()).await.unwrap();
    let began = Instant::now();
    let mut calls = 0;
    while began.elapsed() < Duration::from_secs(5) {
        join_all((0..2).map(|broker| scene.access_token(broker, Some(HOUR)))).await;
        calls += 2;
        sleep(Duration::from_millis(20)).await;
    }
    let redemptions = scene.redemptions();
    assert!(
        calls > 20 && (2..=once_in_two_seconds(began)).contains(&redemptions),
        "{redemptions} of {calls}"
    );

    let naive = Naive::new(&scene.store, options(&scene.provider));
    for _ in 0..5 {
        naive.valid_for(&scene.key, HOUR).await;
    }
    assert_eq!(scene.redemptions(), redemptions + 5, "the control works");
}

/// HubSpot's tokens lived for 6 h, and then for 30 min: with a margin that is longer than that, every call is a refresh.
#[tokio::test]
async fn the_margin_is_longer_than_tokens_live() {
    let margin = Duration::from_secs(2_400);
    let scene = Scene::new(Some(1_800), |options| options.margin = margin).await;
    let row = expired(&scene.provider.log_in());
    scene.brokers[0].put(&scene.key, row).await.unwrap();
    for call in 0..50 {
        scene.access_token(call % 2, None).await;
    }
    assert_eq!(scene.redemptions(), 1);
    // Nor is it refreshed as early as the margin says, as soon as half of its life is over.
    scene.with_left(1_000).await;
    assert_eq!(scene.access_token(0, None).await, "old");
    assert_eq!(scene.redemptions(), 1);
    let row = expired(&scene.provider.log_in());
    scene.brokers[0].put(&scene.key, row).await.unwrap();

    let naive = Naive::new(&scene.store, options(&scene.provider));
    for _ in 0..5 {
        naive.valid_for(&scene.key, margin).await;
    }
    assert_eq!(scene.redemptions(), 6, "the control works");
}

/// A token near its end is served at once, while one refresh runs behind.
#[tokio::test]
async fn a_token_near_its_end_is_refreshed_behind_the_callers_back() {
    let scene = Scene::new(Some(3_600), |_| {}).await;
    let answers = watch::Sender::new(false);
    let held = answers.subscribe();
    scene.provider.fail(move |_| Fault {
        held: Some(held.clone()),
        ..Fault::default()
    });
    scene.with_left(45).await;
    let calls = (0..40).map(|call| scene.access_token(call % 2, None));
    for served in join_all(calls).await {
        assert_eq!(served, "old");
    }
    answers.send_replace(true);
    until("the new token is there", async || {
        let row = scene.brokers[0].read(&scene.key).await.unwrap();
        access_token(&row) != "old"
    })
    .await;
    let row = scene.brokers[0].read(&scene.key).await.unwrap();
    assert!(scene.provider.accepts(access_token(&row)));
    assert_eq!(scene.access_token(1, None).await, access_token(&row));
    assert_eq!(scene.redemptions(), 1);
}

/// The same provider kills the access token in use when it refreshes (GitHub, GitLab): nothing is refreshed ahead.
#[tokio::test]
async fn a_refresh_kills_the_token_in_use() {
    let kills = Scene::new(Some(3_600), |options| options.kills_access_token = true).await;
    let other = Scene::new(Some(3_600), |_| {}).await;
    for (left, min_validity) in [(45, None), (45, Some(HOUR)), (600, Some(HOUR))] {
        kills.with_left(left).await;
        for broker in [0, 1, 0] {
            assert_eq!(kills.access_token(broker, min_validity).await, "old");
        }
    }
    // What runs behind would have begun.
    sleep(Duration::from_millis(200)).await;
    assert_eq!(kills.provider.tally().requests, 0);
    // At its very end there is no choice.
    kills.with_left(5).await;
    assert_ne!(kills.access_token(0, None).await, "old");

    other.with_left(600).await;
    assert_ne!(
        other.access_token(0, Some(HOUR)).await,
        "old",
        "the control works"
    );
}

/// A provider says nothing about the life of its tokens, and they die anyway (Salesforce).
#[tokio::test]
async fn tokens_die_that_have_no_end() {
    let assumed = |options: &mut ProviderOptions| {
        options.assume_expires_in = Some(Duration::from_secs(2));
        options.rejected_interval = Duration::from_secs(1);
    };
    let scene = Scene::new(None, assumed).await;
    let mut row = expired(&scene.provider.log_in());
    row.expires_at = None;
    let stored = scene.brokers[0].put(&scene.key, row).await.unwrap();
    // Nothing tells that it has died, but the caller.
    assert_eq!(scene.access_token(0, Some(HOUR)).await, "old");
    let wanted = Wanted {
        rejected_version: Some(stored),
        ..Wanted::default()
    };
    let before = UnixTime::now().seconds();
    let fresh = scene.brokers[1].get(&scene.key, wanted).await.unwrap();
    let after = UnixTime::now().seconds();
    assert!(scene.provider.accepts(access_token(&fresh)));
    assert_eq!(scene.redemptions(), 1);
    // From then on it is known.
    let ends = fresh.row.expires_at.unwrap().seconds();
    assert!(
        (before + 2..=after + 2).contains(&ends),
        "{before} {ends} {after}"
    );
    sleep(Duration::from_millis(2_100)).await;
    assert!(scene.provider.accepts(&scene.access_token(0, None).await));
    assert_eq!(scene.redemptions(), 2);
}

/// A row that never ends is refreshed only when its token is refused, and then no more than once in the interval.
#[tokio::test]
async fn fresh_tokens_are_refused_again_and_again() {
    let interval = |options: &mut ProviderOptions| {
        options.rejected_interval = Duration::from_secs(2);
    };
    let scene = Scene::new(None, interval).await;
    let mut row = expired(&scene.provider.log_in());
    row.expires_at = None;
    let mut version = scene.brokers[0].put(&scene.key, row).await.unwrap();
    let began = Instant::now();
    let mut call = 0;
    while began.elapsed() < Duration::from_secs(5) {
        let wanted = Wanted {
            rejected_version: Some(version),
            ..Wanted::default()
        };
        let broker = &scene.brokers[call % 2];
        version = broker.get(&scene.key, wanted).await.unwrap().version;
        call += 1;
        sleep(Duration::from_millis(20)).await;
    }
    let redemptions = scene.redemptions();
    assert!(
        call > 10 && (2..=once_in_two_seconds(began)).contains(&redemptions),
        "{redemptions} of {call}"
    );
}

/// A token that is valid is served while the provider is down, and at once if it ends before the caller's patience.
#[tokio::test]
async fn what_is_valid_is_served_while_the_provider_is_down() {
    let nobody = ReservedPort::new();
    let down = |options: &mut ProviderOptions| {
        let url = format!("http://{}/", nobody.address());
        options.endpoints.token = url.parse().ok();
    };
    let scene = Scene::new(Some(3_600), down).await;
    for left in [4, 20] {
        scene.with_left(left).await;
        assert_eq!(scene.access_token(0, None).await, "old");
    }
}
