//! How soon those who wait learn that a refresh has ended (R11).

use std::time::{Duration, Instant};

use testkit::rotating_provider::{Fault, RotatingProvider, Rules};
use token_broker::tokens::Wanted;

use crate::brokers::{Process, expired, key, options, redis};

/// Brokers on Redis poll so often. Who learns of an end sooner, was told.
const POLL: Duration = Duration::from_millis(500);

/// How many rows are refreshed, one after the other.
fn rows() -> usize {
    std::env::var("REFRESH_ROWS").map_or(100, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_on_another_broker_is_told_of_the_end() {
    let rows = rows();
    let provider = RotatingProvider::start(Rules::default()).await;
    provider.fail(|_| Fault {
        after: Duration::from_millis(50),
        ..Fault::default()
    });
    let tenant = redis();
    let brokers: Vec<_> = (0..3)
        .map(|_| Process::start(tenant.store(), options(&provider)))
        .collect();
    let mut late: Vec<Duration> = Vec::new();
    for row in 0..rows {
        let key = key(&format!("s{row}"));
        brokers[0]
            .put(&key, expired(&provider.log_in()))
            .await
            .unwrap();
        let calls: Vec<_> = (0..12)
            .map(|caller| {
                let call = brokers[caller % 3].get(&key, Wanted::default());
                tokio::spawn(async move {
                    call.await.unwrap();
                    Instant::now()
                })
            })
            .collect();
        let mut got = Vec::new();
        for call in calls {
            got.push(call.await.unwrap());
        }
        // Some know before the broker that wrote has its answer.
        let written = brokers
            .iter()
            .filter_map(|broker| broker.store.written(&key));
        let written = written.max().unwrap();
        late.extend(
            got.into_iter()
                .map(|got| got.saturating_duration_since(written)),
        );
    }
    assert_eq!(provider.tally().requests, rows);
    late.sort();
    let at = |percent: usize| late[late.len() * percent / 100];
    println!("after the write: p50 {:?}, p99 {:?}", at(50), at(99));
    assert!(at(95) < POLL / 2, "{:?}", at(95));
}
