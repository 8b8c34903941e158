//! A series of rounds in one deployment, and what must be true of them.

use std::{env, time::Duration};

use crate::{fault::Fault, outcome::Outcome, report, setup::Setup};

/// How many rounds of each fault to run: a few by default, or all (`FAILOVERS=full`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) few: [usize; 4],
    pub(crate) all: [usize; 4],
}

/// Returns whether all rounds are requested.
pub(crate) fn is_full() -> bool {
    env::var("FAILOVERS").is_ok_and(|form| form == "full")
}

/// Returns after how long a silent server counts as failed. On a busy machine one that works may stand still for a second.
pub(crate) fn silence() -> Duration {
    Duration::from_secs(if is_full() { 1 } else { 2 })
}

/// Runs the rounds, alternating between the faults, and prints how each kind went.
pub(crate) async fn run(name: &str, setup: &Setup, rounds: Rounds) -> Vec<(String, Outcome)> {
    let counts = if is_full() { rounds.all } else { rounds.few };
    let mut outcomes: [Outcome; 4] = Default::default();
    for turn in 0..counts.into_iter().max().unwrap_or(0) {
        for (kind, fault) in Fault::ALL.into_iter().enumerate() {
            if turn < counts[kind] {
                let round = format!("{name}-{kind}-{turn}");
                let outcome = setup.round(&round, fault).await;
                eprintln!("{round}, {fault}: {}", report::line(&outcome));
                outcomes[kind].add(outcome);
            }
        }
    }
    let names = Fault::ALL.map(|fault| fault.to_string());
    let lines = names.into_iter().zip(outcomes);
    lines.filter(|(_, outcome)| outcome.rounds > 0).collect()
}

/// Checks what must hold with every durability: calls end in time, and fail as documented.
pub(crate) fn assert_answers(lines: &[(String, Outcome)]) {
    for (fault, outcome) in lines {
        let often = 50 * outcome.rounds;
        assert!(
            outcome.acknowledged > often,
            "{fault}: {}",
            outcome.acknowledged
        );
        assert!(
            outcome.overdue.is_empty(),
            "{fault}: {:#?}",
            outcome.overdue
        );
        for how in outcome.failures.keys() {
            // The caller's clock may be faster than the broker's.
            let documented = [
                "STORE_UNAVAILABLE",
                "OUTCOME_UNKNOWN",
                "NOT_DURABLE",
                "DeadlineExceeded",
                "Cancelled",
            ];
            assert!(
                documented.iter().any(|part| how.contains(part)),
                "{fault}: {how}"
            );
        }
    }
}

/// Checks what is promised if a replica confirms each write.
pub(crate) fn assert_nothing_lost(lines: &[(String, Outcome)]) {
    for (fault, outcome) in lines {
        let misfits = outcome.misfits.join("\n");
        assert!(misfits.is_empty(), "{fault}:\n{misfits}");
        assert_eq!(outcome.losses.all(), 0, "{fault}: {:?}", outcome.losses);
        assert_eq!(outcome.twice, 0, "{fault}");
    }
}
