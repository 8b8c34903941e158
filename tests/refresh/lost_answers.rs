//! How others lose the answer to a redemption, or let it do harm, each with what this broker does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use testkit::{
    rotating_provider::{Fault, RotatingProvider, Rules, Tally},
    rows,
    token_endpoint::Behaviour,
    waiting::{found, until},
};
use token_broker::{
    error::Error,
    refresh::provider::{Answer, Replay, Rotation},
    store::MemoryStore,
    tokens::Wanted,
    types::{ReauthReason, Subject},
};
use tokio::sync::watch;

use crate::{
    brokers::{Process, access_token, expired, key, options},
    failpoints::{Fate, Step},
    id_tokens::id_token,
    naive::Naive,
};

const ONCE: Tally = Tally {
    requests: 1,
    redemptions: 1,
    repeats: 0,
    replays: 0,
};

/// toolhive, issue 6194: the exchange succeeds, the keys that would check the ID token can't be fetched, the new tokens are
/// thrown away, and the old refresh token is sent again.
#[tokio::test]
async fn the_id_token_can_not_be_checked() {
    let provider = RotatingProvider::start(Rules::default()).await;
    // Nobody knows the key that this is signed with, and the issuer's metadata isn't asked for it.
    let id_token = id_token(&provider.url(), "subject");
    provider.fail(move |_| Fault {
        answers: Some(Behaviour::json(
            200,
            &format!(
                r#"{{"access_token":"at-0-1","refresh_token":"rt-0-1","expires_in":3600,"id_token":"{id_token}"}}"#
            ),
        )),
        ..Fault::default()
    });
    let store = Arc::new(MemoryStore::new());
    let broker = Process::start(Arc::clone(&store), options(&provider));
    let mut row = expired(&provider.log_in());
    row.upstream_subject = Subject::new("subject").ok();
    let key = key("s");
    broker.put(&key, row.clone()).await.unwrap();
    for _ in 0..3 {
        let got = broker.get(&key, Wanted::default()).await.unwrap();
        assert!(provider.accepts(access_token(&got)));
        assert!(got.row.id_token.is_some());
    }
    assert_eq!(provider.tally(), ONCE);

    let naive = Naive::new(&store, options(&provider));
    naive.redeem(&row).await.unwrap();
    assert_eq!((provider.tally().replays, provider.revoked()), (1, 1));
}

/// Airbyte on GitLab: a crash between exchange and save breaks the connection for good, and nobody says so.
#[tokio::test]
async fn a_crash_between_exchange_and_save() {
    let crash = |rotation, replay| async move {
        let grace = match rotation {
            Rotation::Grace(grace) => grace,
            _ => Duration::ZERO,
        };
        let provider = RotatingProvider::start(Rules {
            grace,
            ..Rules::default()
        })
        .await;
        let mut options = options(&provider);
        (options.rotation, options.replay) = (rotation, replay);
        let store = Arc::new(MemoryStore::new());
        let mut brokers = Process::start_all(2, &store, &options);
        let key = key("s");
        brokers[0]
            .put(&key, expired(&provider.log_in()))
            .await
            .unwrap();
        let fate = |at| (at == Step::Change(1)).then_some(Fate::StopsBefore);
        brokers[0].store.fail(fate);
        let call = brokers[0].get(&key, Wanted::default());
        brokers[0].store.stopped().await;
        brokers[0].dies();
        drop(call);
        let got = brokers[1].get(&key, Wanted::default()).await;
        (provider, store, brokers, key, got)
    };
    let minute = Rotation::Grace(Duration::from_secs(60));
    let (saved, lost) = tokio::join!(
        crash(minute, Replay::AsRotationAllows),
        crash(Rotation::Strict, Replay::Never),
    );
    let (provider, _store, _brokers, _key, got) = saved;
    assert!(provider.accepts(access_token(&got.unwrap())));
    assert_eq!(provider.revoked(), 0);

    let (provider, store, brokers, key, got) = lost;
    let in_doubt = ReauthReason::InDoubt;
    assert!(matches!(got, Err(Error::ReauthRequired(reason)) if reason == in_doubt));
    // The row says so, and nothing that the user has elsewhere is revoked.
    let row = brokers[1].read(&key).await.unwrap().row;
    assert_eq!(row.reauth, Some(in_doubt));
    assert_eq!((provider.tally(), provider.revoked()), (ONCE, 0));
    // A login mends it.
    brokers[1]
        .put(&key, expired(&provider.log_in()))
        .await
        .unwrap();
    let mended = brokers[1].get(&key, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&mended)));

    let naive = Naive::new(&store, options(&provider));
    naive.redeem(&row).await.unwrap_err();
    assert_eq!(provider.revoked(), 1, "the control works");
}

/// Grafana, PR 131171: the write after the redemption has no condition, and overwrites what another server wrote.
#[tokio::test]
async fn a_login_comes_between_exchange_and_save() {
    let provider = RotatingProvider::start(Rules::default()).await;
    let answers = watch::Sender::new(false);
    let held = answers.subscribe();
    provider.fail(move |_| Fault {
        held: Some(held.clone()),
        ..Fault::default()
    });
    let store = Arc::new(MemoryStore::new());
    let brokers = Process::start_all(2, &store, &options(&provider));
    let key = key("s");
    brokers[0]
        .put(&key, expired(&provider.log_in()))
        .await
        .unwrap();
    let call = brokers[0].get(&key, Wanted::default());
    redemptions(&provider, 1).await;
    let mut login = expired(&provider.log_in());
    login.access_token = rows::secret("at-1-0");
    login.expires_at = rows::in_seconds(3_600);
    let version = brokers[1].put(&key, login.clone()).await.unwrap();
    answers.send_replace(true);
    // Who waited gets what counts now.
    let got = call.await.unwrap();
    assert_eq!((got.version, access_token(&got)), (version, "at-1-0"));
    assert_eq!(brokers[0].read(&key).await.unwrap().version, version);
    assert_eq!(provider.tally(), ONCE);

    let other = crate::brokers::key("t");
    brokers[1]
        .put(&other, expired(&provider.log_in()))
        .await
        .unwrap();
    let naive = Naive::new(&store, options(&provider));
    let old = naive.read(&other).await.row;
    let (redeemed, _) = tokio::join!(naive.redeem(&old), brokers[1].put(&other, login));
    naive.write(&other, &redeemed.unwrap()).await;
    let lost = naive.read(&other).await.row;
    assert_ne!(rows::access_token(&lost), "at-1-0", "the control works");
}

/// An answer can't be saved at once: callers get it from memory, it is saved later, and nobody redeems again.
#[tokio::test]
async fn an_answer_can_not_be_saved_at_once() {
    for fate in [
        Fate::Unavailable,
        Fate::AnswerLost,
        Fate::RequestLost,
        Fate::NotDurable,
    ] {
        let provider = RotatingProvider::start(Rules::default()).await;
        let store = Arc::new(MemoryStore::new());
        let brokers = Process::start_all(2, &store, &options(&provider));
        let key = key("s");
        brokers[0]
            .put(&key, expired(&provider.log_in()))
            .await
            .unwrap();
        let fails = Arc::new(AtomicBool::new(true));
        let (still, fates) = (Arc::clone(&fails), fate.clone());
        brokers[0].store.fail(move |at| {
            let is_result = matches!(at, Step::Change(number) if number > 0);
            (is_result && still.load(Ordering::SeqCst)).then(|| fates.clone())
        });
        let others = brokers[1].get(&key, Wanted::default());
        // Meanwhile it is served from memory.
        for _ in 0..3 {
            let got = brokers[0].get(&key, Wanted::default()).await.unwrap();
            assert!(provider.accepts(access_token(&got)), "{fate:?}");
        }
        fails.store(false, Ordering::SeqCst);
        let got = others.await.unwrap();
        assert!(provider.accepts(access_token(&got)), "{fate:?}");
        let row = brokers[1].read(&key).await.unwrap();
        assert!(provider.accepts(access_token(&row)), "{fate:?}");
        assert_eq!(provider.tally(), ONCE, "{fate:?}");
    }
}

/// It can't be saved for longer than others wait for one who is silent: the lease is renewed until it is.
#[tokio::test]
async fn an_answer_can_not_be_saved_for_long() {
    let provider = RotatingProvider::start(Rules::default()).await;
    let store = Arc::new(MemoryStore::new());
    let brokers = Process::start_all(2, &store, &options(&provider));
    let key = key("s");
    let row = expired(&provider.log_in());
    brokers[0].put(&key, row).await.unwrap();
    brokers[0].store.refuse_rows(true);
    brokers[0].get(&key, Wanted::default()).await.unwrap();
    // A lease, the request's time, and a lease in which the first broker could show itself.
    let patience = Duration::from_secs(14);
    let other = brokers[1].get_within(&key, Wanted::default(), patience);
    let other = other.await;
    assert!(matches!(other, Err(Error::ProviderUnavailable { .. })));
    assert_eq!(provider.tally(), ONCE);
    brokers[0].store.refuse_rows(false);
    let other = brokers[1].get(&key, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&other)));
    assert_eq!(provider.tally(), ONCE);
}

/// Another user logs in while an answer can't be saved: nobody gets the one's tokens as the other's.
#[tokio::test]
async fn a_login_comes_while_an_answer_can_not_be_saved() {
    let provider = RotatingProvider::start(Rules::default()).await;
    let store = Arc::new(MemoryStore::new());
    let brokers = Process::start_all(2, &store, &options(&provider));
    let key = key("s");
    brokers[0]
        .put(&key, expired(&provider.log_in()))
        .await
        .unwrap();
    brokers[0].store.fail(|at| {
        let is_result = matches!(at, Step::Change(number) if number > 0);
        is_result.then_some(Fate::Unavailable)
    });
    let first = brokers[0].get(&key, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&first)));
    let mut login = expired(&provider.log_in());
    login.access_token = rows::secret("the other's");
    login.user_id = Some(rows::user("other"));
    brokers[1].put(&key, login).await.unwrap();
    // The broker looks at the row again and again. When it has seen the login, nobody gets the answer any more. What it would
    // get for that login can't be saved either.
    let patience = Duration::from_secs(1);
    let ask = async || {
        brokers[0]
            .get_within(&key, Wanted::default(), patience)
            .await
    };
    until("the login counts", async || match ask().await {
        Ok(got) => {
            let is_first = got.row.user_id == first.row.user_id;
            assert_eq!(access_token(&got) == access_token(&first), is_first);
            !is_first
        }
        Err(error) => matches!(error, Error::ProviderUnavailable { .. }),
    })
    .await;
    assert_eq!(provider.sent("rt-0-0"), 1);
}

/// Without that a redemption is lost with the first write that fails.
#[tokio::test]
async fn control_an_answer_that_is_not_saved_is_lost() {
    let provider = RotatingProvider::start(Rules::default()).await;
    let naive = Naive::new(&Arc::default(), options(&provider));
    let row = expired(&provider.log_in());
    let saved = naive.redeem(&row).await;
    drop(saved);
    assert!(matches!(
        naive.redeem(&row).await,
        Err(Answer::Refused { .. })
    ));
    assert_eq!(provider.revoked(), 1);
}

/// A store that fails for each broker in turn, while twenty callers wait: all get the same token.
#[tokio::test]
async fn who_waits_gets_the_answer_that_can_not_be_saved() {
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|_| Fault {
        after: Duration::from_millis(50),
        ..Fault::default()
    });
    let store = Arc::new(MemoryStore::new());
    let broker = Process::start(store, options(&provider));
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    broker.store.fail(|at| {
        let is_result = matches!(at, Step::Change(number) if number > 0);
        is_result.then_some(Fate::Unavailable)
    });
    let calls = join_all((0..20).map(|_| broker.get(&key, Wanted::default()))).await;
    for call in calls {
        assert!(provider.accepts(access_token(&call.unwrap())));
    }
    assert_eq!(provider.tally(), ONCE);
}

async fn redemptions(provider: &RotatingProvider, count: usize) {
    let what = "the provider redeems the token";
    found(what, || {
        (provider.tally().redemptions == count).then_some(())
    })
    .await;
}
