//! How others redeem a refresh token twice or lose it, each with what this broker does, and a control that fails.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use testkit::rotating_provider::{Fault, RotatingProvider, Rules, Tally};
use token_broker::{
    error::Error,
    refresh::Refreshed,
    store::MemoryStore,
    tokens::Wanted,
    types::{ReauthReason, RowKey, StoredRow},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{
    brokers::{PATIENCE, Process, access_token, expired, key, options},
    failpoints::{Fate, Step},
    naive::Naive,
};

type Broker = Process<Arc<MemoryStore>>;

/// A provider, brokers, and a row that has expired.
struct Scene {
    provider: RotatingProvider,
    store: Arc<MemoryStore>,
    brokers: Vec<Broker>,
    key: RowKey,
    refresh_token: String,
}

impl Scene {
    async fn new() -> Self {
        Self::with_timeout(Duration::from_secs(5)).await
    }

    async fn with_timeout(span: Duration) -> Self {
        let provider = RotatingProvider::start(Rules::default()).await;
        let store = Arc::new(MemoryStore::new());
        let mut options = options(&provider);
        options.timeout = span;
        let brokers = Process::start_all(2, &store, &options);
        let (key, refresh_token) = (key("s"), provider.log_in());
        brokers[0].put(&key, expired(&refresh_token)).await.unwrap();
        Self {
            provider,
            store,
            brokers,
            key,
            refresh_token,
        }
    }

    /// Lets the provider take its time after it has redeemed a token.
    fn slow(&self, span: Duration) {
        self.provider.fail(move |_| Fault {
            after: span,
            ..Fault::default()
        });
    }

    fn naive(&self) -> Naive {
        Naive::new(&self.store, options(&self.provider))
    }

    /// So many callers ask each broker at once.
    async fn ask(&self, callers: usize) -> Vec<Result<StoredRow, Error>> {
        let ask = |broker: &Broker| broker.get(&self.key, Wanted::default());
        let calls = self
            .brokers
            .iter()
            .flat_map(|b| (0..callers).map(move |_| b));
        join_all(calls.map(ask)).await
    }

    fn assert_valid(&self, answers: Vec<Result<StoredRow, Error>>) {
        for answer in answers {
            assert!(self.provider.accepts(access_token(&answer.unwrap())));
        }
    }

    fn assert_redeemed_once(&self) {
        let once = Tally {
            requests: 1,
            redemptions: 1,
            ..Tally::default()
        };
        assert_eq!(self.provider.tally(), once);
    }

    fn assert_revoked(&self) {
        assert!(self.provider.tally().replays > 0, "the control works");
        assert_eq!(self.provider.revoked(), 1);
    }
}

/// toolhive, issue 4122: two pods find a row expired, and both redeem. Each knows only its own refreshes.
#[tokio::test]
async fn two_processes_find_a_row_expired() {
    let scene = Scene::new().await;
    scene.slow(Duration::from_millis(100));
    let answers = scene.ask(20).await;
    scene.assert_valid(answers);
    scene.assert_redeemed_once();

    let scene = Scene::new().await;
    let pods = [scene.naive(), scene.naive()];
    let read = join_all(pods.iter().map(|pod| pod.read(&scene.key))).await;
    let redeem = pods
        .iter()
        .zip(&read)
        .map(|(pod, read)| pod.redeem(&read.row));
    join_all(redeem).await;
    scene.assert_revoked();
}

/// oauth2-proxy, PR 3456 and 1580: a lock lives 2 s and isn't renewed while the provider is slow.
#[tokio::test]
async fn the_provider_is_slower_than_the_lock_lives() {
    let scene = Scene::with_timeout(Duration::from_secs(15)).await;
    scene.slow(Duration::from_secs(7));
    let answers = scene.ask(2).await;
    scene.assert_valid(answers);
    scene.assert_redeemed_once();

    let scene = Scene::new().await;
    scene.slow(Duration::from_millis(200));
    let (pod, lock) = (scene.naive(), Mutex::new(()));
    let redeem = || async {
        let row = pod.read(&scene.key).await.row;
        // The lock expires while its holder still waits for the answer.
        let mut locked = Some(lock.lock().await);
        let mut redeeming = Box::pin(pod.redeem(&row));
        let answer = timeout(Duration::from_millis(50), &mut redeeming).await;
        locked.take();
        match answer {
            Ok(answer) => answer.is_ok(),
            Err(_) => redeeming.await.is_ok(),
        }
    };
    tokio::join!(redeem(), redeem());
    scene.assert_revoked();
}

/// Nango, PR 2387 and 2494: who waited for the lock goes on with the row as it was read before, and each in the queue
/// refreshes again.
#[tokio::test]
async fn waiters_have_stale_copies() {
    let scene = Scene::new().await;
    scene.slow(Duration::from_millis(100));
    let stale = scene.brokers[0].read(&scene.key).await.unwrap().version;
    let refresh = |broker: &Broker| {
        let key = scene.key.clone();
        broker.run(move |tokens| async move {
            let deadline = Instant::now() + PATIENCE;
            let refresher = tokens.refresher();
            refresher.refresh(&key, stale, false, deadline).await
        })
    };
    // Some join, and some come when all is over.
    for _ in 0..3 {
        let calls = scene.brokers.iter().flat_map(|broker| [broker; 20]);
        for refreshed in join_all(calls.map(refresh)).await {
            let (Refreshed::Row(stored) | Refreshed::Fresher(stored)) = refreshed.unwrap() else {
                panic!("it was not refreshed because of a refusal");
            };
            scene.assert_valid(vec![Ok(*stored)]);
        }
    }
    scene.assert_redeemed_once();

    let scene = Scene::new().await;
    let (pod, lock) = (scene.naive(), Mutex::new(()));
    let redeem = || async {
        let row = pod.read(&scene.key).await.row;
        let _locked = lock.lock().await;
        if let Ok(row) = pod.redeem(&row).await {
            pod.write(&scene.key, &row).await;
        }
    };
    tokio::join!(redeem(), redeem());
    scene.assert_revoked();
}

/// Nango, PR 5090: each caller tries again what keeps failing, until the server is exhausted.
#[tokio::test]
async fn a_session_that_keeps_failing_is_asked_for() {
    const CALLERS: usize = 200;
    let scene = Scene::new().await;
    let refused = expired("rt-99-0");
    scene.brokers[0]
        .put(&scene.key, refused.clone())
        .await
        .unwrap();
    for _ in 0..3 {
        for answer in scene.ask(CALLERS).await {
            let refused = Err(Error::ReauthRequired(ReauthReason::Refused));
            assert_eq!(
                format!("{answer:?}"),
                format!("{refused:?}", refused = refused as Result<StoredRow, Error>)
            );
        }
    }
    assert_eq!(scene.provider.tally().requests, 1);

    let pod = scene.naive();
    join_all((0..CALLERS).map(|_| pod.redeem(&refused))).await;
    assert_eq!(scene.provider.tally().requests, 1 + CALLERS);
}

/// Neon's MCP server, PR 233: when Redis can't be asked, the lock is skipped, and everybody redeems.
#[tokio::test]
async fn the_store_can_not_be_asked() {
    let nobody_redeems = |step: Step, fate: Fate| async move {
        let scene = Scene::new().await;
        let fates = fate.clone();
        scene.brokers[0]
            .store
            .fail(move |at| (at == step).then(|| fates.clone()));
        let got = scene.brokers[0].get(&scene.key, Wanted::default()).await;
        let expected = match fate {
            Fate::NotDurable => matches!(got, Err(Error::NotDurable(_))),
            _ => matches!(got, Err(Error::StoreUnavailable(_))),
        };
        assert!(expected, "{step:?} {fate:?}: {got:?}");
        assert_eq!(
            scene.provider.tally(),
            Tally::default(),
            "{step:?} {fate:?}"
        );
        // Nothing is left behind that another broker would have to wait for.
        let began = Instant::now();
        let answers = vec![scene.brokers[1].get(&scene.key, Wanted::default()).await];
        assert!(
            began.elapsed() < Duration::from_secs(6),
            "{step:?} {fate:?}"
        );
        scene.assert_valid(answers);
        scene.assert_redeemed_once();
    };
    tokio::join!(
        nobody_redeems(Step::Look(0), Fate::Unavailable),
        nobody_redeems(Step::Look(1), Fate::Unavailable),
        nobody_redeems(Step::Change(0), Fate::Unavailable),
        nobody_redeems(Step::Change(0), Fate::NotDurable),
    );

    let scene = Scene::new().await;
    let pods = [scene.naive(), scene.naive()];
    let row = pods[0].read(&scene.key).await.row;
    join_all(pods.iter().map(|pod| pod.redeem(&row))).await;
    scene.assert_revoked();
}

/// What the taking's lost answer means is found out by asking again, under the same name.
#[tokio::test]
async fn the_answer_to_the_taking_is_lost() {
    for fate in [Fate::AnswerLost, Fate::RequestLost] {
        let scene = Scene::new().await;
        let fates = fate.clone();
        scene.brokers[0]
            .store
            .fail(move |at| (at == Step::Change(0)).then(|| fates.clone()));
        let answers = scene.ask(3).await;
        scene.assert_valid(answers);
        scene.assert_redeemed_once();
    }
}

/// Callers force a refresh after a 401, with no way to say which token was refused: each forces another one.
#[tokio::test]
async fn a_thousand_callers_are_refused_with_401() {
    const CALLERS: usize = 500;
    let scene = Scene::new().await;
    scene.slow(Duration::from_millis(100));
    let mut row = expired(&scene.refresh_token);
    row.expires_at = testkit::rows::in_seconds(3_600);
    let rejected = scene.brokers[0].put(&scene.key, row).await.unwrap();
    let ask = |rejected| {
        let wanted = Wanted {
            rejected_version: Some(rejected),
            ..Wanted::default()
        };
        let brokers = scene
            .brokers
            .iter()
            .flat_map(|b| (0..CALLERS).map(move |_| b));
        let calls = brokers.map(|broker| broker.get(&scene.key, wanted));
        join_all(calls.collect::<Vec<_>>())
    };
    let refreshed = ask(rejected).await;
    let fresh = refreshed[0].as_ref().unwrap().version;
    assert_ne!(fresh, rejected);
    scene.assert_valid(refreshed);
    scene.assert_redeemed_once();
    // The fresh token is refused as well: there is nothing newer, which each broker says at once.
    let began = Instant::now();
    for answer in ask(fresh).await {
        assert_eq!(answer.unwrap().version, fresh);
    }
    assert!(began.elapsed() < Duration::from_secs(15));
    scene.assert_redeemed_once();

    let scene = Scene::new().await;
    let pod = scene.naive();
    for _ in 0..5 {
        let row = pod.read(&scene.key).await.row;
        pod.write(&scene.key, &pod.redeem(&row).await.unwrap())
            .await;
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(scene.provider.tally().redemptions, 5, "the control works");
}
