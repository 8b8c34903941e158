//! Auth servers that redeem refresh tokens themselves, on the same records as brokers (R15).

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use testkit::{
    rotating_provider::{Fault, RotatingProvider, Rules},
    rows,
    waiting::until,
};
use token_broker::{
    error::Error,
    refresh::{
        Begun, Completed, Completion, Outcome,
        provider::{Answer, Provider, Replay, Rotation, TokenAnswer},
    },
    store::{MemoryStore, Records},
    tokens::Wanted,
    types::{AttemptId, ReauthReason, Row, RowKey, Secret, StoredRow, Subject, TokenHash, Version},
};
use tokio::time::{Instant, sleep};

use crate::{
    brokers::{Process, access_token, expired, key, options},
    id_tokens::id_token,
};

type Broker = Process<Arc<MemoryStore>>;

/// A provider, two brokers, and a row that has expired.
struct Scene {
    provider: RotatingProvider,
    brokers: Vec<Broker>,
    key: RowKey,
    token: String,
    version: Version,
}

impl Scene {
    async fn new() -> Self {
        Self::with(Replay::AsRotationAllows).await
    }

    async fn with(replay: Replay) -> Self {
        let provider = RotatingProvider::start(Rules::default()).await;
        let mut options = options(&provider);
        (options.rotation, options.replay) = (Rotation::Strict, replay);
        let brokers = Process::start_all(2, &Arc::new(MemoryStore::new()), &options);
        let (key, token) = (key("s"), provider.log_in());
        let version = brokers[0].put(&key, expired(&token)).await.unwrap();
        Self {
            provider,
            brokers,
            key,
            token,
            version,
        }
    }

    /// The row is another one, of which nothing is in a record.
    async fn planted(self, change: impl FnOnce(Row) -> Row) -> Self {
        let row = change(expired(&self.token));
        let version = self.brokers[0].plant(&self.key, &row).await;
        Self { version, ..self }
    }

    /// The row names the subject of the provider.
    async fn of_subject() -> Self {
        let named = |row| Row {
            upstream_subject: Subject::new("subject").ok(),
            ..row
        };
        Self::new().await.planted(named).await
    }

    /// The auth server asks for the right to redeem the token.
    async fn begin(&self, id: u128) -> Result<Begun, Error> {
        self.begin_at(0, id).await
    }

    async fn begin_at(&self, broker: usize, id: u128) -> Result<Begun, Error> {
        let (key, version) = (self.key.clone(), self.version);
        let begin = self.brokers[broker].run(move |tokens| async move {
            let attempt = AttemptId::from_number(id);
            tokens.begin_refresh(&key, version, attempt).await
        });
        begin.await
    }

    async fn renew(&self, id: u128) -> Option<Duration> {
        let (key, hash) = (self.key.clone(), self.hash());
        let renew = self.brokers[0].run(move |tokens| async move {
            let attempt = AttemptId::from_number(id);
            tokens.renew_refresh(&key, hash, attempt).await
        });
        renew.await.unwrap()
    }

    /// The auth server tells what came of it.
    async fn complete(&self, id: u128, outcome: Outcome) -> Completed {
        self.complete_for(self.hash(), id, outcome).await.unwrap()
    }

    async fn complete_for(
        &self,
        token: TokenHash,
        id: u128,
        outcome: Outcome,
    ) -> Result<Completed, Error> {
        let key = self.key.clone();
        let completion = Completion {
            attempt: AttemptId::from_number(id),
            token,
            version: self.version,
            outcome,
        };
        let complete = self.brokers[1]
            .run(move |tokens| async move { tokens.complete_refresh(&key, completion).await });
        complete.await
    }

    /// The auth server redeems the token.
    async fn redeem(&self) -> Outcome {
        let provider = Provider::new(options(&self.provider));
        let prepared = provider.prepare().await.unwrap();
        match prepared.send(&self.secret()).await {
            Answer::Tokens(tokens) => Outcome::Tokens(tokens),
            Answer::Refused { .. } => Outcome::Refused,
            other => panic!("{other:?}"),
        }
    }

    fn secret(&self) -> Secret {
        Secret::new(self.token.clone()).unwrap()
    }

    fn hash(&self) -> TokenHash {
        TokenHash::of(&self.secret())
    }

    async fn get(&self) -> Result<StoredRow, Error> {
        self.brokers[1].get(&self.key, Wanted::default()).await
    }

    async fn assert_row_is(&self, completed: &Completed) {
        let Completed::Row(stored) = completed else {
            panic!("{completed:?}");
        };
        assert!(self.provider.accepts(access_token(stored)));
        let read = self.brokers[0].read(&self.key).await.unwrap();
        assert_eq!(read.version, stored.version);
    }

    fn assert_sent(&self, count: usize) {
        assert_eq!(self.provider.sent(&self.token), count);
    }
}

fn is_lease(begun: &Result<Begun, Error>) -> bool {
    matches!(begun, Ok(Begun::Lease { .. }))
}

/// An answer with these tokens.
fn told(refresh_token: Option<&str>, id_token: Option<&str>) -> Outcome {
    let secret = |text: &str| Secret::new(text.to_owned()).unwrap();
    Outcome::Tokens(Box::new(TokenAnswer {
        access_token: secret("told"),
        refresh_token: refresh_token.map(secret),
        id_token: id_token.map(secret),
        token_type: None,
        scopes: None,
        expires_in: Some(Duration::from_secs(60)),
        refresh_expires_in: None,
    }))
}

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
        let told = Instant::now();
        (scene.complete(1, outcome).await, told)
    };
    let (calls, (completed, told)) = tokio::join!(calls, server);
    for call in calls {
        assert!(scene.provider.accepts(access_token(&call.unwrap())));
    }
    assert!(
        told.elapsed() < Duration::from_millis(400),
        "it is announced"
    );
    scene.assert_row_is(&completed).await;
    scene.assert_sent(1);
    // Who asks now gets the fresher row.
    assert!(matches!(scene.begin(3).await, Ok(Begun::Fresher(_))));
}

/// An auth server waits for a broker, and gets the fresher row.
#[tokio::test]
async fn an_auth_server_waits_for_a_broker() {
    let scene = Scene::new().await;
    scene.provider.fail(|_| Fault {
        after: Duration::from_millis(300),
        ..Fault::default()
    });
    let call = scene.get();
    let server = async {
        scene.provider.requested(1).await;
        assert!(matches!(scene.begin(1).await, Ok(Begun::Wait(_))));
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
        began.elapsed() < Duration::from_secs(2),
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
    let retry_after = Some(Duration::from_secs(5));
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
