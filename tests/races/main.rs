//! Tests many callers, two brokers and one Redis with only a few rows, so that calls race with each
//! other.
//!
//! 64 tasks make calls through two broker processes for `RACES_SECONDS`, 10 by default. The answers
//! that each caller got are recorded row by row, and at the end the tests inspect Redis itself. The
//! tests share one run, and each test checks one aspect of it:
//!
//! - the history of each row is linearizable (I2, I3, I7), and wouldn't be if it had a single stale
//!   read or lost delete. So is it in a second, short run (`RACES_LOST_SECONDS`), in which connections to Redis end
//!   all the time, so that answers to writes get lost;
//! - each version was read with exactly the tokens that were stored with it;
//! - rows and indexes agree with each other in Redis (I1, I2, I5), and with what `Get` and `GetAll`
//!   answer through new brokers.
//!
//! `RACES_SEED` repeats the choices of a run, but not its schedule.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "test helpers panic as tests do"
)]

mod caller;
mod calls;
mod indexes;
mod notes;
mod plant;
mod rows;
mod run;

use std::{collections::BTreeMap, thread, time::Instant};

use rows::RowName;
use run::{run, run_with_lost_answers};
use testkit::linearizability::{Operation, Violation, check};

#[test]
fn each_rows_history_is_linearizable() {
    are_linearizable(&run().histories);
}

/// No write is applied twice (I7), although brokers try to find out what became of writes whose answers got lost.
#[test]
fn each_rows_history_is_linearizable_when_answers_get_lost() {
    let run = run_with_lost_answers();
    let lost = |reason: &str| {
        let failures = run.notes.failures.iter();
        let times = failures.filter(|(how, _)| how.contains(reason));
        times.map(|(_, times)| times).sum::<u64>()
    };
    // A `DeleteUser` whose answer got lost may be repeated, and says so. The first read of a session over a connection
    // may wait in vain for its turn, behind others that wait for a connection to Redis.
    let (unknown, repeatable) = (lost("OUTCOME_UNKNOWN"), lost("STORE_UNAVAILABLE"));
    let refused = lost("OVERLOADED");
    assert!(unknown > 0, "no answer got lost");
    let told = unknown + repeatable + refused;
    assert_eq!(told, lost(""), "{:#?}", run.notes.failures);
    are_linearizable(&run.histories);
    assert!(run.notes.torn.is_empty(), "{}", run.notes.torn.join("\n"));
    let wrong = indexes::violations(&run.snapshot);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn are_linearizable(histories: &BTreeMap<RowName, Vec<Operation>>) {
    assert_eq!(histories.len(), RowName::all().count());
    let started = Instant::now();
    for (row, checked) in check_all(histories.clone()) {
        if let Err(violation) = checked {
            panic!("{row:?}: {violation:#?}");
        }
    }
    let all = || histories.values().flatten();
    let unknown = all().filter(|op| op.returned.is_none()).count();
    let (count, took) = (all().count(), started.elapsed());
    eprintln!("checked {count} operations, {unknown} of unknown outcome, in {took:?}");
}

#[test]
fn one_stale_read_would_have_been_noticed() {
    each_planted_fault_is_rejected(plant::stale_read);
}

#[test]
fn one_lost_delete_would_have_been_noticed() {
    each_planted_fault_is_rejected(plant::lost_delete);
}

#[test]
fn each_version_has_the_tokens_that_were_stored_with_it() {
    let notes = &run().notes;
    assert!(notes.torn.is_empty(), "{}", notes.torn.join("\n"));
    assert!(!notes.contents.is_empty());
}

#[test]
fn no_call_failed() {
    let notes = &run().notes;
    // A read of a session is refused if it waits for its turn for a second, which it does if Redis stands still.
    let is_late = |how: &str| how.contains("OVERLOADED");
    let (late, failed): (Vec<_>, Vec<_>) = notes.failures.iter().partition(|(how, _)| is_late(how));
    assert!(failed.is_empty(), "{failed:#?}");
    let late: u64 = late.into_iter().map(|(_, times)| times).sum();
    assert!(late <= notes.calls / 100, "{late} of {}", notes.calls);
}

#[test]
fn rows_and_indexes_agree_in_redis() {
    let wrong = indexes::violations(&run().snapshot);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn damaged_indexes_would_have_been_noticed() {
    let damaged = indexes::damaged(&run().snapshot);
    assert!(
        damaged.len() >= 4,
        "too few rows are left to damage an index"
    );
    for (damage, snapshot) in damaged {
        let wrong = indexes::violations(&snapshot);
        assert!(!wrong.is_empty(), "not noticed: {damage}");
    }
}

#[test]
fn get_and_get_all_answer_what_redis_holds() {
    let run = run();
    let held = indexes::versions(&run.snapshot);
    assert!(!held.is_empty(), "no row is left to compare");
    for (broker, (got, got_all)) in run.reads.iter().enumerate() {
        assert_eq!(*got, held, "Get, broker {broker}");
        assert_eq!(*got_all, held, "GetAll, broker {broker}");
    }
}

fn each_planted_fault_is_rejected(plant: fn(&[Operation]) -> Option<Vec<Operation>>) {
    let histories = run().histories.iter();
    let planted: BTreeMap<RowName, Vec<Operation>> = histories
        .filter_map(|(row, history)| Some((*row, plant(history)?)))
        .collect();
    assert_eq!(
        planted.len(),
        RowName::all().count(),
        "the histories are too short"
    );
    for (row, checked) in check_all(planted) {
        assert!(checked.is_err(), "{row:?}: a fault was not noticed");
    }
}

/// Checks all histories, each in a thread, and returns the results.
fn check_all(
    histories: BTreeMap<RowName, Vec<Operation>>,
) -> BTreeMap<RowName, Result<(), Violation>> {
    thread::scope(|scope| {
        let checks: Vec<_> = histories
            .iter()
            .map(|(row, history)| (*row, scope.spawn(|| check(history))))
            .collect();
        let join =
            |(row, check): (RowName, thread::ScopedJoinHandle<'_, _>)| (row, check.join().unwrap());
        checks.into_iter().map(join).collect()
    })
}
