//! However many callers and brokers find a row due at once, one redeems its refresh token (R1).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{
    rotating_provider::{Fault, RotatingProvider, Rules, Tally},
    token_endpoint::Behaviour,
};
use token_broker::{store::MemoryStore, tokens::Wanted};

use crate::brokers::{Process, Shared, access_token, expired, key, options, redis};

#[tokio::test]
async fn callers_of_three_brokers_share_one_redemption() {
    callers_share_one_redemption(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn callers_of_three_brokers_share_one_redemption_on_redis() {
    callers_share_one_redemption(redis()).await;
}

async fn callers_share_one_redemption(data: impl Shared) {
    const ROWS: usize = 50;
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|_| Fault {
        after: Duration::from_millis(50),
        ..Fault::default()
    });
    let brokers: Vec<_> = (0..3)
        .map(|_| Process::start(data.open(), options(&provider)))
        .collect();
    let mut calls = Vec::new();
    for row in 0..ROWS {
        let key = key(&format!("s{row}"));
        brokers[0]
            .put(&key, expired(&provider.log_in()))
            .await
            .unwrap();
        for caller in 0..20 {
            calls.push(brokers[caller % 3].get(&key, Wanted::default()));
        }
    }
    for call in calls {
        let stored = call.await.unwrap();
        assert!(provider.accepts(access_token(&stored)));
    }
    let expected = Tally {
        requests: ROWS,
        redemptions: ROWS,
        ..Tally::default()
    };
    assert_eq!(provider.tally(), expected);
}

/// A caller waits for the provider's pause after a 429, and the user logs in again meanwhile: nobody waits for the old token.
#[tokio::test]
async fn a_new_login_does_not_wait_for_the_old_token() {
    let provider = RotatingProvider::start(Rules::default()).await;
    let limited = Behaviour::answer(429, &["Retry-After: 30"], "");
    provider.fail(move |request| Fault {
        instead: (request == 0).then(|| limited.clone()),
        ..Fault::default()
    });
    let broker = Process::start(Arc::new(MemoryStore::new()), options(&provider));
    let key = key("s");
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    let minute = Duration::from_secs(60);
    let first = tokio::spawn(broker.get_within(&key, Wanted::default(), minute));
    provider.requested(1).await;
    broker.put(&key, expired(&provider.log_in())).await.unwrap();
    let begun = Instant::now();
    // It has less time than the old token would have to wait.
    let soon = Duration::from_secs(20);
    let second = broker.get_within(&key, Wanted::default(), soon).await;
    let first = first.await.unwrap().unwrap();
    for stored in [first, second.unwrap()] {
        assert!(provider.accepts(access_token(&stored)));
    }
    assert!(begun.elapsed() < soon, "{:?}", begun.elapsed());
    assert_eq!(provider.tally().redemptions, 1);
}
