//! Tests calls that their callers give up while Redis works for them.

use std::time::Duration;

use testkit::waiting::until;
use tonic::{Code, Request};

use crate::target::{PATIENT, SMALL, Target, get};

/// A caller who gives up doesn't end Redis' work, so the call counts until Redis has answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_counts_until_redis_has_answered() {
    let target = Target::start(&[
        "--max-calls",
        "8",
        "--redis-timeout",
        "30s",
        "--call-timeout",
        "60s",
    ])
    .await;
    let client = target.broker.client().await;
    target.redis.pause();
    let calls = (0..4).map(|_| {
        let mut client = client.clone();
        // Both a deadline and a reset, whichever the broker notices first.
        let mut request = Request::new(get(SMALL, "p1"));
        // Redis has to have the call by then.
        request.set_timeout(Duration::from_secs(2));
        async move { client.get(request).await }
    });
    let given_up = futures_util::future::join_all(calls).await;
    for given_up in given_up {
        let status = given_up.unwrap_err();
        let code = status.code();
        assert!(
            matches!(code, Code::DeadlineExceeded | Code::Cancelled),
            "{status:?}"
        );
    }
    for _ in 0..5 {
        let refused = client.clone().get(get(SMALL, "p1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    }
    target.redis.resume();
    until("Redis has answered", || {
        let mut client = client.clone();
        async move { client.get(get(SMALL, "p1")).await.is_ok() }
    })
    .await;
}

/// Whoever gives up many large reads keeps nobody else from reading.
#[tokio::test(flavor = "multi_thread")]
async fn others_read_while_large_reads_are_given_up() {
    let target = Target::start(&[&["--max-calls", "8"][..], &PATIENT].concat()).await;
    let (_, attack) = crate::attacks::named("large reads that are given up");
    let attacking = tokio::spawn(attack(target.address()));
    let seen = crate::honest::calls(&target, 50, Duration::from_secs(2)).await;
    attacking.abort();
    println!("large reads given up, max-calls 8: {}", seen.line());
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    // One connection gets half of the calls, and the others share the rest. The machine may be busy, so this shows
    // only that they get it.
    assert!(seen.took.len() >= 25, "{}", seen.line());
}
