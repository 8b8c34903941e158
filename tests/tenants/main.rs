//! One process that serves 200 tenants (guarantees, section 8): one floods it, the provider of one hangs, and one can't be
//! migrated. The others are served meanwhile. The program runs in a process of its own, and so does the flood.
//!
//! The long form, whose figures count, needs a quiet machine: `TENANTS=full cargo test --release --test tenants -- --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints figures"
)]

mod callers;
mod compared;
mod flood;
mod process;

use std::time::Duration;

use testkit::waiting::until;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    callers::{Quiet, wait_for_the_provider},
    compared::Compared,
    flood::{Flood, Kind},
    process::{FLOODS, HANGS, Process, UNMIGRATED},
};

/// How many rounds there are, and how long each part of one takes. What else disturbs the machine disturbs all parts of a round,
/// so that their ratios say something on any machine.
fn rounds() -> (usize, Duration) {
    match is_full() {
        true => (5, Duration::from_secs(5)),
        false => (1, Duration::from_secs(2)),
    }
}

fn is_full() -> bool {
    std::env::var("TENANTS").is_ok_and(|value| value == "full")
}

/// How late others are served at most. The callers share the machine with the broker, which may be a slow build on a busy machine:
/// the figures of the long form say more.
const LATE: Duration = Duration::from_secs(5);

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

    // The control: what a flood costs that shares the machine, and no broker.
    let elsewhere = match is_full() {
        true => Some(Process::start().await),
        false => None,
    };
    for broker in [Some(&process), elsewhere.as_ref()].into_iter().flatten() {
        flood::prepare(&broker.client(FLOODS).await).await;
    }
    let (rounds, span) = rounds();
    let mut compared = Compared::default();
    for _ in 0..rounds {
        compared.begin(quiet.served_for(span).await);
        let hanging = tokio::spawn(wait_for_the_provider(process.client(HANGS).await));
        // Each beside the provider that hangs and the tenant that isn't migrated.
        for kind in Kind::ALL {
            let beside = async |broker: &Process| {
                let flood = Flood::of(broker.address(), kind);
                let served = quiet.served_for(span).await;
                println!("{kind}: {}", flood.end());
                assert!(served.p99 < LATE, "{served}");
                served
            };
            let control = match &elsewhere {
                Some(elsewhere) => Some(beside(elsewhere).await),
                None => None,
            };
            compared.note(kind, beside(&process).await, control);
        }
        hanging.abort();
    }
    // The control, threads without turns (`Turns::are_few` says yes), is found by the large writes: 2.3.
    if let Some(of_sharing) = compared.tell() {
        assert!(
            of_sharing <= 1.5,
            "by the same flood of another broker: {of_sharing:.2}"
        );
    }
}
