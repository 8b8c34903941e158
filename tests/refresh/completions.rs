//! What becomes of the tokens, and of the refusals, that auth servers tell (R3, R5, R15).

use std::time::Duration;
use testkit::rows;
use token_broker::{
    error::Error,
    refresh::{Begun, Completed, Outcome, provider::Replay},
    store::Records,
    types::{ReauthReason, Row, Secret, Subject, TokenHash},
};

use crate::{
    auth_server::{Scene, is_lease, told},
    brokers::{access_token, expired},
    id_tokens::id_token,
};

/// The lease was lost, and another attempt is under way or in doubt: the late result still counts.
#[tokio::test]
async fn a_result_comes_after_the_lease_was_lost() {
    let scene = Scene::with(Replay::Never).await;
    assert!(is_lease(&scene.begin(1).await));
    let outcome = scene.redeem().await;
    let got = scene.get().await;
    assert!(
        matches!(got, Err(Error::ReauthRequired(ReauthReason::InDoubt))),
        "{got:?}"
    );
    assert_eq!(scene.renew(1).await, None);
    let completed = scene.complete(1, outcome).await;
    scene.assert_row_is(&completed).await;
    let got = scene.get().await.unwrap();
    assert!(scene.provider.accepts(access_token(&got)));
    assert_eq!(got.row.reauth, None);
    scene.assert_sent(1);
}

/// A result for a row that is gone, or that holds another login, changes nothing.
#[tokio::test]
async fn a_result_for_a_row_that_has_changed() {
    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    let outcome = scene.redeem().await;
    let login = expired(&scene.provider.log_in());
    let version = scene.brokers[0].put(&scene.key, login).await.unwrap();
    let completed = scene.complete(1, outcome.clone()).await;
    assert!(matches!(completed, Completed::Row(stored) if stored.version == version));
    let key = scene.key.clone();
    let delete = scene.brokers[0].run(move |tokens| async move { tokens.delete(&key, None).await });
    assert!(delete.await.unwrap());
    assert!(matches!(scene.complete(1, outcome).await, Completed::Gone));
    assert!(matches!(scene.begin(2).await, Err(Error::RowNotFound)));
    assert!(matches!(scene.get().await, Err(Error::RowNotFound)));
}

/// What an auth server tells is merged as what a provider tells a broker.
#[tokio::test]
async fn a_result_is_merged() {
    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    let completed = scene.complete(1, told(None, None)).await;
    let Completed::Row(stored) = completed else {
        panic!("{completed:?}");
    };
    assert_eq!(access_token(&stored), "told");
    assert_eq!(rows::refresh_token(&stored.row), scene.token);
    assert_eq!(stored.row.user_id, Some(rows::user("u")));
    // The token stays valid: it may be redeemed again.
    assert!(matches!(scene.begin(2).await, Ok(Begun::Fresher(_))));
}

/// An auth server tells the tokens of another user: nothing of them is kept, and the token isn't sent again.
#[tokio::test]
async fn a_result_is_about_another_user() {
    let scene = Scene::of_subject().await;
    assert!(is_lease(&scene.begin(1).await));
    let stranger = id_token("https://issuer.example", "a stranger");
    for _ in 0..2 {
        let completed = scene.complete(1, told(Some("r2"), Some(&stranger))).await;
        assert!(
            matches!(completed, Completed::ReauthRequired(ReauthReason::Refused)),
            "{completed:?}"
        );
    }
    let row = scene.brokers[0].read(&scene.key).await.unwrap().row;
    assert_eq!(row.reauth, Some(ReauthReason::Refused));
    assert_eq!(rows::refresh_token(&row), scene.token);
    assert!(scene.get().await.is_err());
    scene.assert_sent(0);
    // The row's user is welcome.
    let scene = Scene::of_subject().await;
    assert!(is_lease(&scene.begin(1).await));
    let user = id_token("https://issuer.example", "subject");
    let completed = scene.complete(1, told(Some("r2"), Some(&user))).await;
    assert!(matches!(completed, Completed::Row(stored) if access_token(&stored) == "told"));
}

/// What was never begun changes nothing: the row and its refresh token are as good as before.
#[tokio::test]
async fn a_result_of_an_attempt_that_was_never_begun() {
    let scene = Scene::new().await;
    let other = TokenHash::from_bytes([7; 32]);
    let not_sent = |retry_after| Outcome::NotRedeemed { retry_after };
    let long = Some(Duration::from_secs(900));
    for (id, (token, outcome)) in (1..).zip([
        (other, told(Some("made-up"), None)),
        (other, Outcome::Refused),
        (other, not_sent(None)),
        (other, not_sent(long)),
        (scene.hash(), Outcome::Refused),
        (scene.hash(), Outcome::Unknown),
        (scene.hash(), not_sent(long)),
    ]) {
        let completed = scene.complete_for(token, id, outcome).await.unwrap();
        assert!(matches!(completed, Completed::Row(stored) if stored.version == scene.version));
    }
    let seen = scene.brokers[0].store.look(&scene.key).await.unwrap();
    assert_eq!(seen.record.entry(other), None);
    assert!(
        scene
            .provider
            .accepts(access_token(&scene.get().await.unwrap()))
    );
    scene.assert_sent(1);
}

/// The store lost the record. The tokens are the only copy.
#[tokio::test]
async fn a_result_for_a_token_without_an_entry_is_taken() {
    let scene = Scene::new().await;
    let outcome = scene.redeem().await;
    let completed = scene.complete(1, outcome).await;
    scene.assert_row_is(&completed).await;
}

/// The auth server keeps the tokens, and tells them again.
#[tokio::test]
async fn a_result_for_a_row_that_can_not_be_read() {
    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    let outcome = scene.redeem().await;
    scene.brokers[1].store.damage(true);
    let completed = scene.complete_for(scene.hash(), 1, outcome.clone()).await;
    assert!(
        matches!(completed, Err(Error::RowUnreadable(_))),
        "{completed:?}"
    );
    scene.brokers[1].store.damage(false);
    let completed = scene.complete(1, outcome).await;
    scene.assert_row_is(&completed).await;
}

/// The auth server stores the new tokens itself, and then tells them: the old refresh token is known to be redeemed.
#[tokio::test]
async fn a_result_that_was_stored_before_it_was_told() {
    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    let outcome = scene.redeem().await;
    let Outcome::Tokens(tokens) = &outcome else {
        panic!("{outcome:?}");
    };
    let new = tokens.refresh_token.as_ref().unwrap().expose();
    let stored = expired(new);
    let version = scene.brokers[0].put(&scene.key, stored).await.unwrap();
    let completed = scene.complete(1, outcome.clone()).await;
    assert!(matches!(completed, Completed::Row(stored) if stored.version == version));
    let old = scene.brokers[0]
        .put(&scene.key, expired(&scene.token))
        .await;
    assert!(matches!(old, Err(Error::RefreshTokenRedeemed)), "{old:?}");
    scene.assert_sent(1);
}

/// The provider gave out a token again, and the first completion is repeated late: it is over.
#[tokio::test]
async fn a_result_that_is_repeated_after_the_token_came_back() {
    let scene = Scene::new().await;
    let (first, other) = (
        scene.hash(),
        TokenHash::of(&Secret::new("other".to_owned()).unwrap()),
    );
    assert!(is_lease(&scene.begin(1).await));
    let to_other = told(Some("other"), None);
    let Completed::Row(there) = scene.complete(1, to_other.clone()).await else {
        panic!("it isn't written");
    };
    let scene = Scene {
        version: there.version,
        ..scene
    };
    assert!(is_lease(&scene.begin(2).await));
    let and_back = told(Some(&scene.token), None);
    let Completed::Row(back) = scene.complete_for(other, 2, and_back).await.unwrap() else {
        panic!("it isn't written");
    };
    let again = scene.complete_for(first, 1, to_other).await.unwrap();
    assert!(matches!(again, Completed::Row(stored) if stored.version == back.version));
    let row = scene.brokers[0].read(&scene.key).await.unwrap().row;
    assert_eq!(rows::refresh_token(&row), scene.token);
}

/// While an auth server redeems a token, the row becomes another user's with the same token.
#[tokio::test]
async fn a_row_becomes_another_users_meanwhile() {
    let scene = Scene::of_subject().await;
    assert!(is_lease(&scene.begin(1).await));
    let others = |row| Row {
        upstream_subject: Subject::new("another").ok(),
        ..row
    };
    let row = others(expired(&scene.token));
    scene.brokers[0].put(&scene.key, row).await.unwrap();
    let of_subject = id_token("https://issuer.example", "subject");
    let completed = scene
        .complete(1, told(Some("new"), Some(&of_subject)))
        .await;
    assert!(
        matches!(completed, Completed::ReauthRequired(ReauthReason::Refused)),
        "{completed:?}"
    );
    let row = scene.brokers[0].read(&scene.key).await.unwrap().row;
    assert_ne!(row.access_token.unwrap().expose(), "told");
}

/// While the row can't be read, a refusal can't be written on it. It isn't gone.
#[tokio::test]
async fn a_refusal_for_a_row_that_can_not_be_read() {
    let scene = Scene::new().await;
    assert!(is_lease(&scene.begin(1).await));
    scene.brokers[1].store.damage(true);
    let completed = scene.complete_for(scene.hash(), 1, Outcome::Refused).await;
    assert!(
        matches!(completed, Err(Error::RowUnreadable(_))),
        "{completed:?}"
    );
}
