//! I7 (guarantees, section 3.2): no write is applied twice, although answers get lost while callers of several brokers
//! are at work.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{
    broker::{Broker, request, rules},
    linearizability::{Action, Condition, Recorder, check},
    rows::*,
};
use token_broker::{
    error::Error,
    store::{Identities, Store},
    tokens::{Precondition, StoreTokens},
    types::{Row, RowKey, Version},
};
use tokio::task::JoinSet;

use crate::{backend::Backend, dice::Dice, forgetful::Forgetful};

const TASKS: usize = 6;
const CALLS: usize = 24;
const ROUNDS: usize = 5;

/// Callers of two brokers store, delete and read a few rows. Answers get lost, and some writes come late. The history
/// of each row is one that a single row could have had: each write took effect once at most, and each that was
/// acknowledged took effect.
pub async fn i7_no_write_is_applied_twice<B: Backend>(backend: B) {
    let mut dice = Dice::new();
    let mut unknown = 0;
    for round in 0..ROUNDS {
        let race = Race::new(round);
        let mut callers = JoinSet::new();
        let brokers: Vec<_> = (0..2)
            .map(|_| {
                let store = Forgetful::often(backend.store(), dice.fork());
                Broker::new(store, rules(backend.tenant()))
            })
            .collect();
        for task in 0..TASKS {
            let (race, broker) = (Arc::clone(&race), brokers[task % 2].clone());
            callers.spawn(call(race, broker, dice.fork()));
        }
        callers.join_all().await;
        unknown += race.judge();
    }
    assert!(unknown > 0, "no answer got lost");
}

/// What the callers of a round share: the rows and their histories.
struct Race {
    rows: [RowKey; 2],
    histories: BTreeMap<RowKey, Recorder>,
    /// The number of the last attempt to write. It is in the access token.
    attempts: AtomicU64,
    /// The version that each attempt was read with.
    read: Mutex<HashMap<u64, u64>>,
}

impl Race {
    fn new(round: usize) -> Arc<Self> {
        let rows = ["a", "b"].map(|name| key(&format!("{name}-{round}"), "p"));
        let histories = rows.iter().cloned().map(|row| (row, Recorder::default()));
        Arc::new(Self {
            histories: histories.collect(),
            rows,
            attempts: AtomicU64::default(),
            read: Mutex::default(),
        })
    }

    /// Checks the histories. Returns how many outcomes are unknown.
    fn judge(&self) -> usize {
        let mut unknown = 0;
        for (key, recorder) in &self.histories {
            recorder.learn(&self.read.lock().unwrap());
            let history = recorder.operations();
            unknown += history.iter().filter(|op| op.returned.is_none()).count();
            if let Err(violation) = check(&history) {
                panic!("I7: the history of {key:?} is no row's: {violation:#?}");
            }
        }
        unknown
    }

    /// Records what a call did: what the answer says, or `unknown` if its outcome is unknown.
    fn note<T>(
        &self,
        key: &RowKey,
        called: Instant,
        answer: Result<T, Error>,
        unknown: Action,
        known: impl FnOnce(Result<T, Error>) -> Action,
    ) {
        let recorder = &self.histories[key];
        match answer {
            // Only a crowd on one row ends so, and nothing was written.
            Err(Error::StoreUnavailable(_)) => {}
            Err(Error::OutcomeUnknown(_)) => recorder.note_unknown(called, unknown),
            answer => recorder.note(called, known(answer)),
        }
    }
}

async fn call<S: Store + Identities>(race: Arc<Race>, broker: Broker<S>, mut dice: Dice) {
    let mut seen: HashMap<RowKey, Version> = HashMap::new();
    for _ in 0..CALLS {
        let key = dice.pick(&race.rows).clone();
        let last = seen.get(&key).copied();
        match dice.in_range(0..20) {
            0..6 => {
                let called = Instant::now();
                let stored = broker.read(&key).await;
                let version = stored.as_ref().map(|stored| stored.version.number());
                race.histories[&key].note(called, Action::Get { version });
                if let Some(stored) = stored {
                    let attempt = access_token(&stored.row).parse().unwrap();
                    let version = stored.version.number();
                    race.read.lock().unwrap().insert(attempt, version);
                    seen.insert(key, stored.version);
                }
            }
            6..9 => store(&race, &broker, &key, None, false).await,
            9..14 => store(&race, &broker, &key, None, true).await,
            14 => store(&race, &broker, &key, Some(Precondition::MustNotExist), true).await,
            15..17 => {
                let version = last.unwrap_or_else(Version::random);
                let on = Some(Precondition::Version(version));
                store(&race, &broker, &key, on, dice.once_in(2)).await;
            }
            17 => {
                let called = Instant::now();
                let deleted = broker.delete(&key, None).await;
                race.note(&key, called, deleted, Action::DeleteAny, |deleted| {
                    Action::Delete {
                        deleted: deleted.unwrap(),
                    }
                });
            }
            18 => {
                let called = Instant::now();
                let deleted = broker.delete_all(&key.session).await;
                race.note(&key, called, deleted, Action::DeleteAny, |deleted| {
                    Action::Delete {
                        deleted: deleted.unwrap() == 1,
                    }
                });
            }
            _ => {
                let version = last.unwrap_or_else(Version::random);
                let called = Instant::now();
                let deleted = broker.delete(&key, Some(version)).await;
                let version = version.number();
                let action = Action::DeleteVersion { version };
                race.note(&key, called, deleted, action, |deleted| match deleted {
                    Ok(true) => action,
                    Ok(false) => Action::Get { version: None },
                    Err(Error::VersionMismatch) => Action::Mismatch {
                        expected: version,
                        absent_is_mismatch: false,
                    },
                    Err(error) => panic!("{error:?}"),
                });
            }
        }
        tokio::time::sleep(Duration::from_micros(dice.in_range(0..3_000) as u64)).await;
    }
}

async fn store<S: Store>(
    race: &Race,
    broker: &Broker<S>,
    key: &RowKey,
    precondition: Option<Precondition>,
    carry_forward: bool,
) {
    let attempt = race.attempts.fetch_add(1, Ordering::Relaxed) + 1;
    let row = Row {
        access_token: secret(&attempt.to_string()),
        refresh_token: secret(&format!("rt-{attempt}")).filter(|_| !carry_forward),
        ..row("u", "")
    };
    let condition = match precondition {
        None => Condition::Always,
        Some(Precondition::MustNotExist) => Condition::Absent,
        Some(Precondition::Version(version)) => Condition::Version(version.number()),
    };
    let written = |version| Action::Store {
        version,
        user: None,
        condition,
    };
    let request = StoreTokens {
        precondition,
        carry_forward,
        ..request(key, &row)
    };
    let called = Instant::now();
    let stored = broker.store(request).await;
    race.note(
        key,
        called,
        stored,
        written(attempt),
        |stored| match stored {
            Ok(version) => written(version.number()),
            Err(Error::RowExists) => Action::StoreExists,
            Err(Error::VersionMismatch) => match condition {
                Condition::Version(expected) => Action::Mismatch {
                    expected,
                    absent_is_mismatch: true,
                },
                condition => panic!("a version doesn't fit, but none was named: {condition:?}"),
            },
            Err(error) => panic!("{error:?}"),
        },
    );
}
