//! Tests that the checker accepts every history of an atomic row, and finds each planted fault.

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use testkit::linearizability::{Action, Condition, Operation, State, check};

fn seeded() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// Returns what `tasks` callers see who perform `count` operations on an atomic row. Each operation
/// takes effect at one instant between its call and its return, and operations overlap.
fn atomic_row(rng: &mut StdRng, tasks: u64, count: u64) -> Vec<Operation> {
    let mut state: State = None;
    let mut versions = 0;
    let mut history = Vec::new();
    for instant in 1..=count {
        let action = some_action(rng, state, &mut versions);
        state = action.apply(state).expect("the answer is that of the row");
        let reach = 10 * tasks;
        history.push(Operation {
            action,
            called: Duration::from_nanos((1000 + 10 * instant) - rng.random_range(1..reach)),
            returned: Some(Duration::from_nanos(
                (1000 + 10 * instant) + rng.random_range(1..reach),
            )),
        });
    }
    history
}

fn some_action(rng: &mut impl Rng, state: State, versions: &mut u64) -> Action {
    let mut fresh = || {
        *versions += 1;
        *versions
    };
    let user = rng.random_range(0..3u32);
    let owner = Some(user).filter(|user| *user > 0);
    let current = state.map(|(version, _)| version);
    match rng.random_range(0..12) {
        0 | 1 => Action::Store {
            version: fresh(),
            user: owner,
            condition: Condition::Always,
        },
        2 if state.is_none() => Action::Store {
            version: fresh(),
            user: owner,
            condition: Condition::Absent,
        },
        2 => Action::StoreExists,
        3 => match current {
            Some(old) => Action::Store {
                version: fresh(),
                user: owner,
                condition: Condition::Version(old),
            },
            None => Action::Mismatch {
                expected: 7,
                absent_is_mismatch: true,
            },
        },
        4 => Action::Delete {
            deleted: state.is_some(),
        },
        5 => current.map_or(Action::Get { version: None }, |version| {
            Action::DeleteVersion { version }
        }),
        6 => Action::DeleteUser { user },
        7 if state.is_none() => Action::DeleteAny,
        7 => Action::Mismatch {
            expected: u64::MAX,
            absent_is_mismatch: state.is_none(),
        },
        _ => Action::Get { version: current },
    }
}

#[test]
fn what_an_atomic_row_does_is_linearizable() {
    let mut rng = seeded();
    for tasks in [1, 2, 4, 8, 16] {
        let history = atomic_row(&mut rng, tasks, 10_000);
        check(&history).unwrap_or_else(|violation| panic!("{tasks} tasks: {violation:#?}"));
    }
}

#[test]
fn one_stale_read_in_many_operations_is_found() {
    let mut rng = seeded();
    for _ in 0..5 {
        let mut history = atomic_row(&mut rng, 8, 10_000);
        // A read of a version that was certainly gone when the read was called.
        let (at, version) = loop {
            let at = rng.random_range(2_000..10_000);
            if let Action::Get { version: Some(_) } = history[at].action
                && let Action::Store { version, .. } = history[at - 1_000].action
            {
                break (at, version);
            }
        };
        history[at].action = Action::Get {
            version: Some(version),
        };
        check(&history).expect_err("a stale read");
    }
}

/// Histories of a few operations in sequence, none of which a row could have produced.
#[test]
fn each_kind_of_fault_is_found() {
    let store = |version| Action::Store {
        version,
        user: Some(1),
        condition: Condition::Always,
    };
    let get = |version| Action::Get { version };
    let over = |version, old| Action::Store {
        version,
        user: Some(1),
        condition: Condition::Version(old),
    };
    let first = Action::Store {
        version: 2,
        user: Some(1),
        condition: Condition::Absent,
    };
    for (fault, actions) in [
        ("a lost write", vec![store(1), get(None)]),
        ("a stale read", vec![store(1), store(2), get(Some(1))]),
        (
            "a read of what was never written",
            vec![store(1), get(Some(9))],
        ),
        (
            "a delete undone",
            vec![store(1), Action::Delete { deleted: true }, get(Some(1))],
        ),
        (
            "a delete of nothing",
            vec![Action::Delete { deleted: true }],
        ),
        (
            "a row that is left",
            vec![store(1), Action::DeleteUser { user: 1 }, get(Some(1))],
        ),
        (
            "another user's row deleted",
            vec![store(1), Action::DeleteUser { user: 2 }, get(None)],
        ),
        ("a lost update", vec![store(1), over(2, 1), over(3, 1)]),
        ("a second first write", vec![store(1), first]),
        (
            "a wrong refusal",
            vec![
                store(1),
                Action::Mismatch {
                    expected: 1,
                    absent_is_mismatch: true,
                },
            ],
        ),
        ("existence of nothing", vec![Action::StoreExists]),
        (
            "an old version deleted",
            vec![store(1), store(2), Action::DeleteVersion { version: 1 }],
        ),
    ] {
        let history: Vec<_> = actions
            .into_iter()
            .zip(1..)
            .map(|(action, n)| Operation {
                action,
                called: Duration::from_nanos(10 * n),
                returned: Some(Duration::from_nanos(10 * n + 5)),
            })
            .collect();
        check(&history).expect_err(fault);
        // If all operations overlap, another order may explain the history. If one does, the
        // checker accepts it.
        if ["a stale read", "a lost write", "a row that is left"].contains(&fault) {
            let overlapping: Vec<_> = history
                .iter()
                .map(|op| Operation {
                    called: Duration::ZERO,
                    ..*op
                })
                .collect();
            let all_open = overlapping.iter().map(|op| Operation {
                returned: Some(Duration::from_secs(1)),
                ..*op
            });
            check(&all_open.collect::<Vec<_>>()).expect(fault);
        }
    }
}

/// Forgets the answers of some operations. Each of them took effect, never does, or does so later.
fn with_lost_answers(rng: &mut StdRng, count: u64) -> Vec<Operation> {
    let mut state: State = None;
    let mut versions = 0;
    let mut late: Vec<Action> = Vec::new();
    let mut history = Vec::new();
    for instant in 1..=count {
        let time = 1000 + 10 * instant;
        let (before, after) = (rng.random_range(1..80), rng.random_range(1..80));
        let span = |action, answered: bool| Operation {
            action,
            called: Duration::from_nanos(time - before),
            returned: answered.then(|| Duration::from_nanos(time + after)),
        };
        // What comes late meets another row, and may be refused.
        if !late.is_empty() && instant % 5 == 0 {
            let action = late.remove(0);
            state = action.apply(state).unwrap_or(state);
            continue;
        }
        let action = some_action(rng, state, &mut versions);
        let is_write = state != action.apply(state).unwrap();
        match rng.random_range(0..100) {
            0..3 if is_write => history.push(span(action, false)),
            3..6 if is_write => {
                history.push(span(action, false));
                late.push(action);
            }
            6..10 if is_write => {
                history.push(span(action, false));
                state = action.apply(state).unwrap();
            }
            _ => {
                history.push(span(action, true));
                state = action.apply(state).unwrap();
            }
        }
    }
    history
}

#[test]
fn what_an_atomic_row_does_is_linearizable_when_answers_are_lost() {
    let mut rng = seeded();
    for _ in 0..20 {
        let history = with_lost_answers(&mut rng, 2_000);
        let lost = history.iter().filter(|op| op.returned.is_none()).count();
        assert!(lost > 20, "{lost}");
        check(&history).unwrap_or_else(|violation| panic!("{violation:#?}"));
    }
}

/// Histories of operations in sequence, with the ones whose answer was lost marked by `false`.
#[test]
fn an_operation_of_unknown_outcome_takes_effect_late_or_never_or_once() {
    let always = |version| Action::Store {
        version,
        user: Some(1),
        condition: Condition::Always,
    };
    let on = |condition| Action::Store {
        version: 2,
        user: Some(1),
        condition,
    };
    let get = |version| (Action::Get { version }, true);
    let gone = Action::Delete { deleted: true };
    let first = (always(1), true);
    let lost = (always(2), false);
    let fits = [
        ("never", vec![first, lost, get(Some(1)), get(Some(1))]),
        ("late", vec![first, lost, get(Some(1)), get(Some(2))]),
        ("unseen", vec![(always(2), false), (gone, true), get(None)]),
        (
            "a lost delete",
            vec![first, (gone, false), get(Some(1)), get(None)],
        ),
        (
            "a lost delete that lets another write in",
            vec![
                first,
                (gone, false),
                (on(Condition::Absent), true),
                get(Some(2)),
            ],
        ),
        (
            "two that are needed together",
            vec![
                first,
                (on(Condition::Absent), false),
                (Action::DeleteAny, false),
                (
                    Action::Mismatch {
                        expected: 1,
                        absent_is_mismatch: false,
                    },
                    true,
                ),
            ],
        ),
        (
            "written, and deleted by the user's delete",
            vec![
                (always(3), true),
                (
                    Action::Store {
                        version: 2,
                        user: Some(5),
                        condition: Condition::Always,
                    },
                    false,
                ),
                (Action::DeleteUser { user: 5 }, true),
                get(None),
            ],
        ),
    ];
    for (case, history) in fits {
        check(&in_sequence(&history)).unwrap_or_else(|violation| panic!("{case}: {violation:#?}"));
    }
    let faults = [
        (
            "a write done twice: it brings a deleted row back",
            vec![first, lost, get(Some(2)), (gone, true), get(Some(2))],
        ),
        (
            "a write done twice: it overwrites a newer one",
            vec![first, lost, get(Some(2)), (always(3), true), get(Some(2))],
        ),
        (
            "a delete done twice",
            vec![
                first,
                (gone, false),
                get(None),
                (always(3), true),
                get(None),
            ],
        ),
        ("before its call", vec![first, get(Some(2)), lost]),
        (
            "on a condition that didn't hold",
            vec![first, (on(Condition::Version(7)), false), get(Some(2))],
        ),
        (
            "a row deleted by nobody",
            vec![first, (Action::DeleteUser { user: 2 }, false), get(None)],
        ),
    ];
    for (fault, history) in faults {
        check(&in_sequence(&history)).expect_err(fault);
    }
}

fn in_sequence(actions: &[(Action, bool)]) -> Vec<Operation> {
    let operation = |((action, answered), n): (&(Action, bool), u64)| Operation {
        action: *action,
        called: Duration::from_nanos(10 * n),
        returned: answered.then(|| Duration::from_nanos(10 * n + 5)),
    };
    actions.iter().zip(1..).map(operation).collect()
}
