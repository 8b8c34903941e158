//! Many rounds of a simulated row. A correct row always fits, and a broken row is detected.

use super::register::{Fault, STALE, Simulation};
use crate::history::{Fit, check, losses};

const ROUNDS: u64 = 60;

/// Returns new seeds in each run, and prints them so that a failure can be repeated.
fn seeds() -> impl Iterator<Item = u64> {
    let first: u64 = rand::random();
    eprintln!("seeds from {first}");
    (0..ROUNDS).map(move |n| first.wrapping_add(n))
}

#[test]
fn a_replicated_row_fits_through_all_failovers() {
    let mut all = Fit::default();
    for seed in seeds() {
        let history = Simulation::run(seed, Fault::None);
        let fit = check(&history, STALE).unwrap_or_else(|misfit| panic!("{seed}: {}", misfit.0));
        assert_eq!(losses(&history).all(), 0, "{seed}");
        all.stale += fit.stale;
        all.longest = all.longest.max(fit.longest);
        all.taken_back += fit.taken_back;
    }
    eprintln!("{all:?}");
    assert!(all.stale > 0, "the simulation shows no stale read");
    assert!(all.taken_back > 0, "the simulation takes nothing back");
}

/// Returns in how many rounds the fault is detected, and in how many rounds losses remain at the
/// end.
fn found(fault: Fault) -> (usize, usize) {
    let histories: Vec<_> = seeds().map(|seed| Simulation::run(seed, fault)).collect();
    let misfits = histories.iter().filter(|h| check(h, STALE).is_err());
    let losing = histories.iter().filter(|h| losses(h).all() > 0);
    let found = (misfits.count(), losing.count());
    eprintln!("{fault:?}: {found:?} of {ROUNDS}");
    found
}

#[test]
fn writes_that_no_replica_has_are_found_lost() {
    let (misfits, _) = found(Fault::Unreplicated);
    assert!(misfits > 0);
}

#[test]
fn a_broker_that_clings_to_the_old_primary_is_found() {
    let (misfits, losing) = found(Fault::Clinging);
    assert!(misfits > 0);
    assert_eq!(losing, 0, "nothing is lost for good");
}

#[test]
fn deletes_that_miss_a_row_are_found() {
    let (misfits, _) = found(Fault::Missing);
    assert!(misfits > 0);
}

#[test]
fn rows_that_come_back_are_found() {
    let (misfits, _) = found(Fault::Resurrecting);
    assert!(misfits > 0);
}
