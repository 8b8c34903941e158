//! One process that serves 200 tenants (guarantees, section 8): one floods it, the provider of one hangs, and one can't be
//! migrated. The others are served meanwhile. The program runs in a process of its own.
//!
//! The long form, whose figures count, needs a quiet machine: `TENANTS=full cargo test --release --test tenants -- --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints figures"
)]

mod callers;
mod process;

use std::time::Duration;

use testkit::waiting::until;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    callers::{Quiet, flood, wait_for_the_provider},
    process::{FLOODS, HANGS, Process, UNMIGRATED},
};

/// How often the test is quiet and disturbed by turns, and how long each part of a round takes. What else disturbs the machine
/// disturbs both parts of a round, so that their ratio says something on any machine.
fn rounds() -> (usize, Duration) {
    let is_full = std::env::var("TENANTS").is_ok_and(|value| value == "full");
    let (rounds, seconds) = if is_full { (7, 5) } else { (1, 3) };
    (rounds, Duration::from_secs(seconds))
}

/// How late others are served at most. The callers share the machine with the broker, which may be a slow build on a busy machine:
/// the figures of the long form say more.
const LATE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_are_served() {
    let process = Process::start().await;
    let quiet = Quiet::of(&process).await;
    quiet.store().await;

    let refused = process.client(UNMIGRATED).await.get("s", "idp").await;
    let refused = refused.unwrap_err();
    let reason = refused.get_details_error_info().unwrap().reason;
    assert_eq!((refused.code(), &*reason), (Code::Unavailable, "MIGRATING"));
    until("the health tells tenants apart", || async {
        let own = process.serves(&format!("tenant/{UNMIGRATED}")).await;
        let others = process.serves(&format!("tenant/{FLOODS}")).await;
        !own && others && process.serves("").await
    })
    .await;

    let (rounds, span) = rounds();
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let alone = quiet.served_for(span).await;
        let flooding = tokio::spawn(flood(
            process.client(FLOODS).await,
            process.channels(8).await,
        ));
        let hanging = tokio::spawn(wait_for_the_provider(process.client(HANGS).await));
        let beside = quiet.served_for(span).await;
        println!("others, alone: {alone}");
        println!("others, beside the three: {beside}");
        flooding.abort();
        hanging.abort();
        assert!(beside.p99 < LATE, "{beside}");
        ratios.push(beside.p99.as_secs_f64() / alone.p99.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let (lowest, median, highest) = (ratios[0], ratios[rounds / 2], ratios[rounds - 1]);
    println!(
        "p99 beside the three, by p99 alone in the same round: {median:.2} ({lowest:.2} to {highest:.2}, {rounds} rounds)"
    );
}
