//! Tests answers that their callers don't read.

use std::time::{Duration, Instant};

use testkit::waiting::until;
use tonic::Code;

use crate::{
    raw::{GOAWAY, INITIAL_WINDOW_SIZE, Raw},
    target::{FULL, SMALL, Target, get, get_all},
};

/// How long a call may last. The answer has to be seen held back meanwhile, also by a test that stands still for a moment.
const CALL: Duration = Duration::from_secs(2);

async fn is_overloaded(target: &Target) -> bool {
    let answer = target.broker.client().await.get(get(SMALL, "p1")).await;
    match answer {
        Ok(_) => false,
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            true
        }
    }
}

/// A call is in flight until its answer has left. An answer that doesn't leave is given up after
/// `call-timeout`, and only its stream is reset.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_holds_its_place_until_it_is_given_up() {
    let target = Target::start(&["--max-calls", "1", "--call-timeout", "2s"]).await;
    let raw = Raw::connect(target.address(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let mut raw = raw.unwrap().reading();
    for method in ["GetAll", "Get"] {
        let before = raw.resets();
        // The call before it may still hold the only place for a moment. A refused call isn't reset.
        while raw.resets() == before {
            let (ended, asked) = (raw.ended(), Instant::now());
            match method {
                "GetAll" => raw.call(method, &get_all(FULL)).await.unwrap(),
                _ => raw.call(method, &get(SMALL, "p1")).await.unwrap(),
            };
            let (mut refused, mut taken) = (0, 0);
            while raw.ended() == ended {
                match is_overloaded(&target).await {
                    true => refused += 1,
                    false => taken += 1,
                }
            }
            if raw.resets() > before {
                assert!(asked.elapsed() >= CALL, "{method}");
                assert!(refused > taken, "{method}: {taken} others had its place");
            }
        }
        until("the place is free", || async {
            !is_overloaded(&target).await
        })
        .await;
    }
    assert!(!raw.is_closed());
    assert_eq!(raw.received(), 0);
}

/// HTTP/2 takes a small answer whole when the client lets a byte of it through, and would keep the rest for
/// ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_small_answers_do_not_leave_is_closed() {
    let target = Target::start(&["--max-calls", "1", "--call-timeout", "2s"]).await;
    let raw = Raw::connect(target.address(), &[(INITIAL_WINDOW_SIZE, 1)]).await;
    let mut raw = raw.unwrap().reading();
    while raw.received() == 0 {
        // The call before it may still hold the only place for a moment. A refusal has no data.
        let refused = raw.ended();
        raw.call("Get", &get(SMALL, "p1")).await.unwrap();
        until("the call is refused, or its answer begins", || async {
            raw.received() > 0 || raw.ended() > refused
        })
        .await;
    }
    assert!(is_overloaded(&target).await);
    until("the connection is closed", || async { raw.is_closed() }).await;
    assert_eq!((raw.received(), raw.count(GOAWAY)), (1, 0));
    until("the place is free", || async {
        !is_overloaded(&target).await
    })
    .await;
}

/// One connection may have a quarter of `max-bytes-in-flight`, and further answers are refused.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_holds_a_bounded_part_of_the_answers() {
    // An answer that nobody reads is given up after a call's time, which would make room.
    let target = Target::start(&["--call-timeout", "2m"]).await;
    let raw = Raw::connect(target.address(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let mut raw = raw.unwrap().reading();
    for _ in 0..40 {
        raw.call("GetAll", &get_all(FULL)).await.unwrap();
    }
    // A refusal has no data, so it isn't held back. 32 MiB are eight answers.
    until("the others are refused", || async { raw.ended() >= 32 }).await;
    // A slow machine refuses some more, which wait for too long until they are read.
    assert!((32..40).contains(&raw.ended()), "{}", raw.ended());
    assert!(!is_overloaded(&target).await);
}
