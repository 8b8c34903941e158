//! While the store can't be asked, a token that was just obtained is served from memory (R8).

use std::{sync::Arc, time::Duration};

use testkit::{
    rotating_provider::{Fault, RotatingProvider, Rules},
    rows,
    waiting::until,
};
use token_broker::{
    error::Error,
    store::MemoryStore,
    tokens::{Binding, SessionAccessTokens, Wanted},
    types::{ProviderSet, Reach, RowKey, StoredRow},
};
use tokio::time::Instant;

use crate::brokers::{PATIENCE, Process, access_token, expired, key, options};

type Broker = Process<Arc<MemoryStore>>;

/// A provider that takes a while to answer, and a broker.
async fn provider_and_broker(rules: Rules) -> (RotatingProvider, Broker) {
    let provider = RotatingProvider::start(rules).await;
    provider.fail(|_| Fault {
        after: Duration::from_millis(200),
        ..Fault::default()
    });
    let broker = Process::start(Arc::new(MemoryStore::new()), options(&provider));
    (provider, broker)
}

/// Asks for the token of a row that has expired, and returns the call when the provider has the refresh token.
async fn asked(
    provider: &RotatingProvider,
    broker: &Broker,
    key: &RowKey,
) -> impl Future<Output = Result<StoredRow, Error>> + use<> {
    broker.put(key, expired(&provider.log_in())).await.unwrap();
    let call = broker.get(key, Wanted::default());
    provider.requested(1).await;
    call
}

/// Asks for all access tokens of the session of a row.
async fn get_all(
    broker: &Broker,
    key: &RowKey,
    binding: Binding,
    reach: Reach,
) -> Result<SessionAccessTokens, Error> {
    let session = key.session.clone();
    let call = broker.run(move |tokens| async move {
        let deadline = Instant::now() + PATIENCE;
        tokens
            .access_tokens(&session, None, &binding, &reach, deadline)
            .await
    });
    call.await
}

async fn assert_is_stored(broker: &Broker, key: &RowKey, got: &StoredRow) {
    until("the token is stored", || async {
        let stored = broker.read(key).await.unwrap();
        access_token(&stored) == access_token(got)
    })
    .await;
}

#[tokio::test]
async fn a_token_that_can_not_be_stored_yet_is_served_to_who_it_is_for() {
    let (provider, broker) = provider_and_broker(Rules::default()).await;
    let key = key("s");
    let first = asked(&provider, &broker, &key).await;
    broker.store.down(true);
    assert!(provider.accepts(access_token(&first.await.unwrap())));

    let got = broker.get(&key, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&got)));
    let others = Binding {
        user_id: Some(rows::user("another")),
        ..Binding::default()
    };
    let of_others = key.clone();
    let refused = broker.run(move |tokens| async move {
        let deadline = Instant::now() + PATIENCE;
        tokens
            .access_token(&of_others, &Wanted::default(), &others, deadline)
            .await
    });
    assert!(matches!(refused.await, Err(Error::BindingMismatch)));
    let unknown = broker
        .get(&crate::brokers::key("t"), Wanted::default())
        .await;
    assert!(matches!(unknown, Err(Error::StoreUnavailable(_))));

    broker.store.down(false);
    assert_is_stored(&broker, &key, &got).await;
    assert_eq!(provider.tally().requests, 1);
}

/// Which rows the session has cannot be known meanwhile: no caller may take a provider for one without tokens.
#[tokio::test]
async fn all_tokens_of_a_session_that_can_not_be_stored_yet_are_served() {
    let provider = RotatingProvider::start(Rules::default()).await;
    let mut other = options(&provider);
    other.name = rows::provider("other");
    let broker = Process::start_with(Arc::new(MemoryStore::new()), [options(&provider), other]);
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    broker.store.refuse_rows(true);
    let got = broker.get(&key, Wanted::default()).await.unwrap();
    broker.store.down(true);

    let any = Binding::default;
    let all = get_all(&broker, &key, any(), Reach::default()).await;
    let all = all.unwrap();
    assert_eq!(access_token(&all.tokens[&key.provider]), access_token(&got));
    let failed: Vec<_> = all.failed.iter().collect();
    assert!(
        matches!(failed[..], [(name, Error::StoreUnavailable(_))] if name.as_str() == "other"),
        "{failed:?}"
    );

    let elsewhere = Reach {
        providers: ProviderSet::Named([rows::provider("other")].into()),
        ..Reach::default()
    };
    let others = Binding {
        user_id: Some(rows::user("another")),
        ..any()
    };
    let out_of_reach = get_all(&broker, &key, any(), elsewhere).await;
    assert!(matches!(out_of_reach, Err(Error::StoreUnavailable(_))));
    let refused = get_all(&broker, &key, others, Reach::default()).await;
    assert!(matches!(refused, Err(Error::BindingMismatch)));
    let unknown = crate::brokers::key("t");
    let unknown = get_all(&broker, &unknown, any(), Reach::default()).await;
    assert!(matches!(unknown, Err(Error::StoreUnavailable(_))));

    broker.store.down(false);
    broker.store.refuse_rows(false);
    assert_is_stored(&broker, &key, &got).await;
}

/// A row shows its version also to a broker that lacks its key. So it is known to be the one that was refreshed.
#[tokio::test]
async fn tokens_of_a_row_whose_key_is_missing_are_served_while_it_is_the_same() {
    let (provider, broker) = provider_and_broker(Rules::default()).await;
    let key = key("s");
    let first = asked(&provider, &broker, &key).await;
    broker.store.refuse_rows(true);
    let got = first.await.unwrap();
    broker.store.lack_key(true);
    let again = broker.get(&key, Wanted::default()).await.unwrap();
    assert_eq!(access_token(&again), access_token(&got));
    let all = get_all(&broker, &key, Binding::default(), Reach::default()).await;
    assert_eq!(
        access_token(&all.unwrap().tokens[&key.provider]),
        access_token(&got)
    );
    let others = Binding {
        user_id: Some(rows::user("another")),
        ..Binding::default()
    };
    let refused = get_all(&broker, &key, others, Reach::default()).await;
    assert!(matches!(refused, Err(Error::BindingMismatch)));

    broker.plant(&key, &expired("another login")).await;
    let all = get_all(&broker, &key, Binding::default(), Reach::default()).await;
    let all = all.unwrap();
    assert!(all.tokens.is_empty());
    assert!(matches!(all.failed[&key.provider], Error::KeyMissing(_)));
}

/// A row that can't be read isn't gone: the tokens wait until it can, or is replaced. Nobody gets them meanwhile, because it may
/// be another user's by now.
#[tokio::test]
async fn a_row_that_can_not_be_read_keeps_its_result() {
    let (provider, broker) = provider_and_broker(Rules::default()).await;
    let key = key("s");
    let first = asked(&provider, &broker, &key).await;
    broker.store.damage(true);
    until("the provider has answered", || async {
        provider.tally().redemptions == 1
    })
    .await;
    let patience = Duration::from_millis(300);
    broker
        .get_within(&key, Wanted::default(), patience)
        .await
        .unwrap_err();
    broker.store.damage(false);
    let got = first.await.unwrap();
    assert!(provider.accepts(access_token(&got)));
    assert_is_stored(&broker, &key, &got).await;
    assert_eq!(provider.tally().requests, 1);
}

/// Nobody can delete what is only in memory, so that it isn't handed out for long, and never after its end.
#[tokio::test]
async fn tokens_that_can_not_be_stored_end() {
    let rules = Rules {
        expires_in: Some(4),
        ..Rules::default()
    };
    let (provider, broker) = provider_and_broker(rules).await;
    let key = key("s");
    let first = asked(&provider, &broker, &key).await;
    broker.store.down(true);
    first.await.unwrap();
    until("the token isn't handed out any more", || async {
        let got = broker.get(&key, Wanted::default()).await;
        matches!(got, Err(Error::StoreUnavailable(_)))
    })
    .await;
}

/// A result that can't be written keeps no place among the calls to the provider.
#[tokio::test]
async fn rows_that_can_not_be_written_do_not_hold_up_others() {
    let provider = RotatingProvider::start(Rules::default()).await;
    let mut options = options(&provider);
    options.max_concurrent = 1;
    let broker = Process::start(Arc::new(MemoryStore::new()), options);
    let (stuck, healthy) = (key("stuck"), key("healthy"));
    for key in [&stuck, &healthy] {
        broker.put(key, expired(&provider.log_in())).await.unwrap();
    }
    broker.store.refuse_rows(true);
    let got = broker.get(&stuck, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&got)));
    let got = broker.get(&healthy, Wanted::default()).await.unwrap();
    assert!(provider.accepts(access_token(&got)));
    broker.store.refuse_rows(false);
}
