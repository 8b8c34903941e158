//! Auth servers that redeem refresh tokens themselves take them on the same records as brokers (R15).

use std::time::Duration;

use futures_util::future::join_all;
use testkit::{rotating_provider::Fault, rows, waiting::until};
use token_broker::{
    error::Error,
    refresh::{Begun, Completed, Outcome, provider::Replay},
    tokens::Wanted,
    types::{ReauthReason, Row},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    auth_server::{Scene, is_lease},
    brokers::{access_token, expired, key},
};

/// Brokers wait for an auth server, and get what it tells, also when it takes longer than a lease.
#[tokio::test]
async fn brokers_wait_for_an_auth_server() {
    let scene = Scene::new().await;
    let Ok(Begun::Lease { length, stored }) = scene.begin(1).await else {
        panic!("nobody else has it");
    };
    assert_eq!(rows::refresh_token(&stored.row), scene.token);
    assert!(matches!(scene.begin_at(1, 2).await, Ok(Begun::Wait(_))));
    let calls = join_all((0..10).map(|_| scene.get()));
    let server = async {
        let began = Instant::now();
        while began.elapsed() < length + Duration::from_millis(500) {
            sleep(length / 4).await;
            assert_eq!(scene.renew(1).await, Some(length));
        }
        scene.assert_sent(0);
        let outcome = scene.redeem().await;
        scene.complete(1, outcome).await
    };
    let (calls, completed) = tokio::join!(calls, server);
    for call in calls {
        assert!(scene.provider.accepts(access_token(&call.unwrap())));
    }
    scene.assert_row_is(&completed).await;
    scene.assert_sent(1);
    // Who asks now gets the fresher row.
    assert!(matches!(scene.begin(3).await, Ok(Begun::Fresher(_))));
}

/// A broker that waits for an auth server is told of the end, and doesn't find it when it looks the next time.
#[tokio::test]
async fn brokers_are_told_of_the_end() {
    let told_after = async || {
        let scene = Scene::new().await;
        assert!(is_lease(&scene.begin(1).await));
        let server = async {
            // By then the broker has looked, and would look again half a second later.
            sleep(Duration::from_millis(50)).await;
            let outcome = scene.redeem().await;
            scene.complete(1, outcome).await;
            Instant::now()
        };
        let (call, ended) = tokio::join!(scene.get(), server);
        call.unwrap();
        ended.elapsed()
    };
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        fastest = fastest.min(told_after().await);
    }
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
}

/// An auth server waits for a broker, and gets the fresher row.
#[tokio::test]
async fn an_auth_server_waits_for_a_broker() {
    let scene = Scene::new().await;
    let answers = watch::Sender::new(false);
    let held = answers.subscribe();
    scene.provider.fail(move |_| Fault {
        held: Some(held.clone()),
        ..Fault::default()
    });
    let call = scene.get();
    let server = async {
        scene.provider.requested(1).await;
        assert!(matches!(scene.begin(1).await, Ok(Begun::Wait(_))));
        answers.send_replace(true);
        until("the row is refreshed", async || {
            matches!(scene.begin(1).await, Ok(Begun::Fresher(_)))
        })
        .await;
    };
    let (call, ()) = tokio::join!(call, server);
    call.unwrap();
    scene.assert_sent(1);
}

/// Brokers and auth servers ask for many rows at once: each token is redeemed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_and_auth_servers_together() {
    let scene = Scene::new().await;
    let mut scenes = vec![scene];
    for row in 1..40 {
        let Scene {
            provider, brokers, ..
        } = scenes.pop().unwrap();
        let (key, token) = (key(&format!("s{row}")), provider.log_in());
        let version = brokers[0].put(&key, expired(&token)).await.unwrap();
        let scene = Scene {
            provider,
            brokers,
            key,
            token,
            version,
        };
        let server = |id: u128| {
            let scene = &scene;
            async move {
                loop {
                    match scene
                        .begin_at(usize::try_from(id).unwrap(), id)
                        .await
                        .unwrap()
                    {
                        Begun::Lease { .. } => {
                            let outcome = scene.redeem().await;
                            scene.complete(id, outcome).await;
                        }
                        Begun::Fresher(_) => return,
                        Begun::Wait(_) => sleep(Duration::from_millis(2)).await,
                        Begun::ReauthRequired(reason) => panic!("{reason:?}"),
                    }
                }
            }
        };
        let calls = join_all((0..4).map(|_| scene.get()));
        let (calls, (), ()) = tokio::join!(calls, server(0), server(1));
        for call in calls {
            assert!(scene.provider.accepts(access_token(&call.unwrap())));
        }
        scene.assert_sent(1);
        scenes.push(scene);
    }
}

/// Calls whose answers were lost are repeated.
#[tokio::test]
async fn each_call_may_be_repeated() {
    let scene = Scene::new().await;
    for broker in [0, 1, 0] {
        assert!(is_lease(&scene.begin_at(broker, 1).await));
    }
    let outcome = scene.redeem().await;
    let first = scene.complete(1, outcome.clone()).await;
    scene.assert_row_is(&first).await;
    let again = scene.complete(1, outcome).await;
    scene.assert_row_is(&again).await;
    // A repeated taking that comes late takes nothing.
    assert!(matches!(scene.begin(1).await, Ok(Begun::Fresher(_))));
    // What came of it stays, whatever a late copy says.
    scene.complete(1, Outcome::Unknown).await;
    scene
        .complete(1, Outcome::NotRedeemed { retry_after: None })
        .await;
    let row = scene.brokers[0].read(&scene.key).await.unwrap().row;
    assert_eq!(row.reauth, None);
    scene.assert_sent(1);
}

/// Nothing was sent: others may go on at once, and the attempt never comes back.
#[tokio::test]
async fn nothing_was_sent() {
    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    let call = scene.get();
    let outcome = Outcome::NotRedeemed { retry_after: None };
    let began = Instant::now();
    let (completed, call) = tokio::join!(scene.complete(1, outcome), call);
    assert!(matches!(completed, Completed::Row(_)), "{completed:?}");
    assert!(scene.provider.accepts(access_token(&call.unwrap())));
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    scene.assert_sent(1);

    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    scene
        .complete(1, Outcome::NotRedeemed { retry_after: None })
        .await;
    let ended = scene.begin(1).await;
    assert!(matches!(ended, Err(Error::Invalid(_))), "{ended:?}");
    // Asked to wait, all wait.
    assert!(is_lease(&scene.begin(2).await));
    let retry_after = Some(Duration::from_secs(60));
    scene
        .complete(2, Outcome::NotRedeemed { retry_after })
        .await;
    assert!(matches!(scene.begin(3).await, Ok(Begun::Wait(wait)) if wait > Duration::from_secs(3)));
    let call =
        scene.brokers[0].get_within(&scene.key, Wanted::default(), Duration::from_millis(200));
    assert!(matches!(call.await, Err(Error::ProviderUnavailable { .. })));
    scene.assert_sent(0);
}

#[tokio::test]
async fn the_provider_refused_it() {
    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    let refused = ReauthReason::Refused;
    for _ in 0..2 {
        let completed = scene.complete(1, Outcome::Refused).await;
        assert!(
            matches!(completed, Completed::ReauthRequired(reason) if reason == refused),
            "{completed:?}"
        );
    }
    assert!(matches!(scene.begin(2).await, Ok(Begun::ReauthRequired(reason)) if reason == refused));
    assert!(matches!(scene.get().await, Err(Error::ReauthRequired(reason)) if reason == refused));
    let row = scene.brokers[0].read(&scene.key).await.unwrap().row;
    assert_eq!(row.reauth, Some(refused));
    scene.assert_sent(0);
}

/// An auth server has no answer, and says so, or dies: that is doubt, for brokers as well.
#[tokio::test]
async fn it_is_not_known_what_came_of_it() {
    let one = |replay, says_so: bool| async move {
        let scene = Scene::with(replay).await;
        assert!(is_lease(&scene.begin(1).await));
        // The provider redeems it, and nobody learns what for.
        drop(scene.redeem().await);
        if says_so {
            scene.complete(1, Outcome::Unknown).await;
        }
        let got = scene.get().await;
        let is_in_doubt = matches!(got, Err(Error::ReauthRequired(ReauthReason::InDoubt)));
        assert!(is_in_doubt, "{got:?}");
        assert!(matches!(
            scene.begin(2).await,
            Ok(Begun::ReauthRequired(ReauthReason::InDoubt))
        ));
        scene.assert_sent(if replay == Replay::Never { 1 } else { 2 });
    };
    let allowed = Replay::AsRotationAllows;
    tokio::join!(
        one(Replay::Never, true),
        one(Replay::Never, false),
        one(allowed, true),
        one(allowed, false)
    );
}

/// An auth server dies after it has asked, and before it has sent anything: a broker goes on.
#[tokio::test]
async fn an_auth_server_dies_before_it_sends() {
    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    let got = scene.get().await.unwrap();
    assert!(scene.provider.accepts(access_token(&got)));
    scene.assert_sent(1);
    // It wasn't dead, but slow. It must not send now.
    assert_eq!(scene.renew(1).await, None);
}

/// The mark of a row outlives its record.
#[tokio::test]
async fn a_row_that_is_marked_gets_no_lease() {
    let marked = |row| Row {
        reauth: Some(ReauthReason::InDoubt),
        ..row
    };
    let scene = Scene::new().await.planted(marked).await;
    let begun = scene.begin(1).await;
    let reason = ReauthReason::InDoubt;
    assert!(
        matches!(begun, Ok(Begun::ReauthRequired(why)) if why == reason),
        "{begun:?}"
    );
}
