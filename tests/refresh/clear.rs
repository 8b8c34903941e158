//! What a provider refused in a bad hour is taken back (R6).

use std::{sync::Arc, time::Duration};

use testkit::{
    rotating_provider::{Fault, RotatingProvider, Rules},
    token_endpoint::Behaviour,
    waiting::until,
};
use token_broker::{
    error::Error,
    refresh::{Cleared, Kept, clear, provider::Replay},
    store::MemoryStore,
    tokens::Wanted,
    types::ReauthReason,
};

use crate::brokers::{Process, access_token, expired, key, options};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_refusal_of_late_is_taken_back_and_an_older_one_is_not() {
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|number| Fault {
        instead: (number == 0).then(|| Behaviour::json(400, r#"{"error":"invalid_grant"}"#)),
        ..Fault::default()
    });
    let store = Arc::new(MemoryStore::new());
    let broker = Process::start(Arc::clone(&store), options(&provider));
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    let refused = broker.get(&key, Wanted::default()).await;
    assert!(matches!(
        refused,
        Err(Error::ReauthRequired(ReauthReason::Refused))
    ));
    let older = Cleared::Kept(Kept::Older);
    until("the refusal is an older one", || async {
        let cleared = clear(&*store, &key, Duration::from_millis(1), true).await;
        cleared.unwrap() == older
    })
    .await;
    let cleared = clear(&*store, &key, Duration::from_millis(1), false).await;
    assert_eq!(cleared.unwrap(), older);

    let taken_back = Cleared::TakenBack;
    assert_eq!(clear(&*store, &key, HOUR, true).await.unwrap(), taken_back);
    let still_refused = broker.get(&key, Wanted::default()).await;
    assert!(still_refused.is_err(), "a dry run changes nothing");
    assert_eq!(clear(&*store, &key, HOUR, false).await.unwrap(), taken_back);
    assert_eq!(broker.read(&key).await.unwrap().row.reauth, None);
    let got = broker.get(&key, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&got)));
    let again = clear(&*store, &key, HOUR, false).await.unwrap();
    assert_eq!(again, Cleared::Nothing);
}

#[tokio::test]
async fn what_is_in_doubt_stays_so_and_is_told() {
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|_| Fault {
        instead: Some(Behaviour::answer(500, &[], "")),
        ..Fault::default()
    });
    let store = Arc::new(MemoryStore::new());
    let mut options = options(&provider);
    options.replay = Replay::Never;
    let broker = Process::start(Arc::clone(&store), options);
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    let got = broker.get(&key, Wanted::default()).await;
    assert!(matches!(
        got,
        Err(Error::ReauthRequired(ReauthReason::InDoubt))
    ));
    let cleared = clear(&*store, &key, HOUR, false).await.unwrap();
    assert_eq!(cleared, Cleared::Kept(Kept::InDoubt));
}
