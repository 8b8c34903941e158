//! One attack at a time: how much memory it costs, and what others see meanwhile.
//!
//! With `--nocapture` each test prints a line of the table in `docs/hostile-clients.md`.

use std::{env, time::Duration};

use crate::{
    attacks::named,
    honest,
    target::{PATIENT, Target},
};

/// How much memory the broker may have at most while one client attacks, in MiB.
const MOST: usize = 200;

/// Runs an attack beside honest clients.
async fn costs_little(name: &str) {
    let seconds = env::var("HOSTILE_SECONDS").map_or(1, |seconds| seconds.parse().unwrap());
    let (name, attack) = named(name);
    let target = Target::start_alone(&PATIENT).await;
    let before = target.memory();
    let attacking = tokio::spawn(attack(target.address()));
    let seen = honest::calls(&target, 100, Duration::from_secs(seconds)).await;
    attacking.abort();
    let peak = target.peak();
    println!("| {name} | {before} to {peak} MiB | {} |", seen.line());
    assert!(peak < MOST, "{name}: {peak} MiB");
    assert!(seen.errors.is_empty(), "{name}: {:?}", seen.errors);
    // The machine may be busy, so this shows only that others are served at all.
    assert!(seen.took.len() > 50, "{name}: {}", seen.line());
}

macro_rules! attacks {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                costs_little($name).await;
            }
        )*

        #[test]
        fn each_attack_has_a_test() {
            let tested = [$($name),*];
            let all: Vec<_> = crate::attacks::ALL.iter().map(|(name, _)| *name).collect();
            assert_eq!(all, tested);
        }
    };
}

attacks! {
    answers_without_a_window: "answers nobody reads, no window",
    answers_with_a_window_of_a_byte: "answers nobody reads, window of a byte",
    answers_in_full_sockets: "answers nobody reads, full sockets",
    small_answers: "small answers nobody reads",
    half_sent_requests: "half-sent requests",
    swelling_requests: "compressed requests that swell",
    reads_that_are_given_up: "large reads that are given up",
    rapid_reset: "rapid reset",
    continuation_flood: "CONTINUATION flood",
    ping_flood: "PING flood, answers unread",
    settings_flood: "SETTINGS flood, answers unread",
    empty_data: "empty DATA frames",
    idle_streams: "many idle streams",
    watches: "many watches",
    reflection: "reflection that isn't read",
    slow_headers: "slow headers",
    slow_beginnings: "slow beginnings",
}
