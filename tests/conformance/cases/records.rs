//! What brokers know about the redemption of refresh tokens, beside the rows (guarantees, section 6): a record and its row
//! are read as of one instant, and change in one step or not at all.

use std::time::Duration;

use testkit::{
    broker::{Broker, request},
    rows::*,
    waiting::until,
};
use token_broker::{
    error::Error,
    store::{Change, Identities, Records, RowChange, Seen, Store},
    tokens::Precondition,
    types::{
        Attempt, AttemptId, AttemptState, Entry, EntryState, Lineage, ReauthReason, Record, RowKey,
        StoreTime, StoredRow, Successor, TokenHash, Version, Wanted,
    },
};
use tokio::{
    task::{JoinSet, yield_now},
    time::timeout,
};

use crate::{backend::Backend, dice::Dice};

/// How long an end may take to be told.
const PATIENCE: Duration = Duration::from_secs(5);

fn hash(token: &str) -> TokenHash {
    TokenHash::of(&secret(token).unwrap())
}

/// Returns a record that knows of one token.
fn known(token: &str, state: EntryState) -> Record {
    Record::new(vec![Entry {
        state,
        ..Entry::free(hash(token))
    }])
}

/// Writes a record as it was not seen to be, unless something changes meanwhile.
async fn note<S: Records>(store: &S, key: &RowKey, record: &Record) -> bool {
    let seen = store.look(key).await.unwrap();
    change(store, key, &seen, record, None).await
}

async fn change<S: Records>(
    store: &S,
    key: &RowKey,
    seen: &Seen,
    record: &Record,
    row: Option<RowChange<'_>>,
) -> bool {
    let change = Change {
        record,
        row,
        ends: None,
    };
    store.change(key, seen, change).await.unwrap()
}

/// Returns the row that was seen as after a refresh.
fn refreshed(seen: &Seen) -> StoredRow {
    let mut stored = seen.stored().unwrap().clone();
    stored.row.access_token = secret("refreshed");
    stored.row.refresh_token = secret("rotated");
    stored.version = Version::random();
    stored
}

/// A record is read as it was written, by every broker: all fields, in the order of the entries.
pub async fn a_record_comes_back_whole<B: Backend>(backend: B) {
    let (broker, other, key) = (backend.broker(), backend.broker(), key("s:1", "p q"));
    broker.put(&key, &row("u", "at")).await;
    let (store, other) = (broker.backend(), other.backend());
    let empty = store.look(&key).await.unwrap();
    assert_eq!(empty.record, Record::default());

    let ids = [(); 3].map(|()| AttemptId::random());
    let time = |millis| Some(StoreTime::from_millis(millis));
    let successor = Successor {
        token: hash("new"),
        attempt: ids[1],
        version: Version::random(),
    };
    let states = [
        EntryState::Redeemed(Some(successor)),
        EntryState::Redeemed(None),
        EntryState::Refused { for_good: true },
        EntryState::Refused { for_good: false },
        EntryState::InDoubt,
        EntryState::Free,
        EntryState::Open,
    ];
    let states = states.into_iter().enumerate();
    let entries = states.map(|(nth, state)| Entry {
        token: hash(&format!("token {nth}")),
        state,
        attempts: vec![
            Attempt {
                id: ids[0],
                state: AttemptState::Ended,
            },
            Attempt {
                id: ids[2],
                state: AttemptState::NoAnswer,
            },
            Attempt {
                id: ids[1],
                state: AttemptState::Running,
            },
        ],
        holder: Some(ids[1]),
        lease_ends: StoreTime::from_millis(1),
        wanted: time(2).map(|since| Wanted {
            since,
            lineage: Some(Lineage::new(3)),
        }),
        first_taken: time(3),
        not_before: time(4),
        failures: 5,
        refused_at: time(5),
        rejected_at: time(6),
    });
    let mut record = Record::new(entries.collect());
    assert!(change(store, &key, &empty, &record, None).await);
    let seen = other.look(&key).await.unwrap();
    assert_eq!(seen.record, record);
    assert_eq!(
        seen.stored().map(|stored| &stored.version),
        empty.stored().map(|stored| &stored.version)
    );

    // Entries go and come.
    let mut entries = record.entries()[2..].to_vec();
    entries.insert(2, Entry::free(hash("between")));
    record = Record::new(entries);
    assert!(change(other, &key, &seen, &record, None).await);
    assert_eq!(store.look(&key).await.unwrap().record, record);
    let other_key = testkit::rows::key("s:1", "p");
    assert_eq!(
        store.look(&other_key).await.unwrap().record,
        Record::default()
    );
}

/// The store's clock is the same for all brokers.
pub async fn the_clock_of_the_store_goes_on<B: Backend>(backend: B) {
    let (store, other, key) = (backend.store(), backend.store(), key("s", "p"));
    let first = store.look(&key).await.unwrap().at;
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = StoreTime::default().plus(now);
    assert!(now.since(first) + first.since(now) < Duration::from_secs(10));
    until("the clock goes on", async || {
        other.look(&key).await.unwrap().at > first
    })
    .await;
}

/// A change of a record and its row is seen whole: the row, its version, its life and the record.
pub async fn a_change_changes_the_record_and_its_row<B: Backend>(backend: B) {
    let (broker, other, key) = (backend.broker(), backend.broker(), key("s", "p"));
    for keep_for in [None, Some(None), Some(Some(DAY))] {
        broker.put(&key, &row("u", "at")).await;
        let seen = broker.backend().look(&key).await.unwrap();
        let stored = refreshed(&seen);
        let record = known("refresh-at", EntryState::Redeemed(None));
        let row = RowChange {
            stored: &stored,
            keep_for,
        };
        assert!(change(broker.backend(), &key, &seen, &record, Some(row)).await);
        let after = other.backend().look(&key).await.unwrap();
        assert_eq!(after.stored(), Some(&stored));
        assert_eq!(after.record, record);
        assert_eq!(other.read(&key).await, Some(stored.clone()));
        assert_eq!(other.rows_of(&key.session).await[&key.provider], stored);
        assert_eq!(other.listed(&user("u")).await, std::slice::from_ref(&key));
        backend.audit();
        broker.remove(&key).await;
        let gone = other.backend().look(&key).await.unwrap();
        assert!(gone.row.is_none());
        assert!(note(broker.backend(), &key, &Record::default()).await);
    }
}

/// Neither the row nor the record may have changed since they were seen. Otherwise nothing is written.
pub async fn a_change_of_what_has_changed_is_refused<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let (store, other) = (broker.backend(), backend.broker());
    let first = row("u", "at");
    let mark = async |key: &RowKey| {
        let seen = other.backend().look(key).await.unwrap();
        let mut stored = seen.stored().unwrap().clone();
        stored.row.reauth = Some(ReauthReason::InDoubt);
        let row = RowChange {
            stored: &stored,
            keep_for: None,
        };
        assert!(change(other.backend(), key, &seen, &seen.record, Some(row)).await);
    };
    for what in 0..6 {
        other.remove(&key).await;
        other.put(&key, &first).await;
        let seen = store.look(&key).await.unwrap();
        match what {
            0 => _ = other.put(&key, &first).await,
            1 => _ = other.remove(&key).await,
            2 => _ = other.delete_user(&user("u")).await.unwrap(),
            3 => assert!(note(other.backend(), &key, &seen.record).await),
            // The row has the same version afterwards.
            4 => mark(&key).await,
            _ => {
                other.remove(&key).await;
                other.put(&key, &first).await;
            }
        }
        // A look makes the backend notice what has ended.
        store.look(&key).await.unwrap();
        let before = backend.dump();
        let record = known("refresh-at", EntryState::Open);
        let stored = refreshed(&seen);
        let row = RowChange {
            stored: &stored,
            keep_for: Some(None),
        };
        for row in [None, Some(row)] {
            let changed = change(store, &key, &seen, &record, row).await;
            assert!(!changed, "I4: a change of what has changed: {what}");
        }
        assert!(backend.dump() == before, "I4: it changed something: {what}");
    }
    // Absence is seen as well.
    other.remove(&key).await;
    let seen = store.look(&key).await.unwrap();
    other.put(&key, &first).await;
    assert!(!change(store, &key, &seen, &seen.record, None).await);
}

/// If the answer to a change was lost, it may be repeated: it is done once.
pub async fn a_repeated_change_is_done_once<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "at")).await;
    let store = broker.backend();
    let seen = store.look(&key).await.unwrap();
    let record = known("refresh-at", EntryState::Open);
    assert!(change(store, &key, &seen, &record, None).await);
    assert!(!change(store, &key, &seen, &record, None).await);
    // Also if nothing is another one than before.
    let seen = store.look(&key).await.unwrap();
    assert!(change(store, &key, &seen, &seen.record, None).await);
    assert!(!change(store, &key, &seen, &seen.record, None).await);
}

/// Of those who saw the same, one changes it.
pub async fn one_of_many_changes_is_done<B: Backend>(backend: B) {
    let (brokers, key) = ([backend.broker(), backend.broker()], key("s", "p"));
    brokers[0].put(&key, &row("u", "at")).await;
    for round in 0..20 {
        let seen = brokers[0].backend().look(&key).await.unwrap();
        let mut tasks = JoinSet::new();
        for nth in 0..20 {
            let (broker, key, seen) = (brokers[nth % 2].clone(), key.clone(), seen.clone());
            tasks.spawn(async move {
                let record = known(&format!("{round} {nth}"), EntryState::Open);
                change(broker.backend(), &key, &seen, &record, None).await
            });
        }
        let done = tasks.join_all().await;
        let done = done.into_iter().filter(|done| *done).count();
        assert_eq!(done, 1, "changes of the same record were done");
    }
}

/// A record is there as long as its row, and afterwards: an answer of the provider that comes late finds what became of
/// its token.
pub async fn a_record_outlives_its_row<B: Backend>(backend: B) {
    let broker = backend.broker();
    let store = broker.backend();
    let record = known("refresh-at", EntryState::Redeemed(None));
    let is_known = async |key: &RowKey| store.look(key).await.unwrap().record == record;
    for (nth, end) in ["expires", "is deleted", "session", "user", "changed hands"]
        .into_iter()
        .enumerate()
    {
        let key = key(&format!("s{nth}"), "p");
        broker.put(&key, &row("u", "at")).await;
        assert!(note(store, &key, &record).await);
        match end {
            "expires" => {
                let next = row("u", "next");
                broker.put_for(&key, &next, Duration::from_millis(1)).await;
            }
            "is deleted" => _ = broker.remove(&key).await,
            "session" => _ = broker.delete_all(&key.session).await.unwrap(),
            "user" => _ = broker.delete_user(&user("u")).await.unwrap(),
            _ => {
                broker.put(&key, &row("v", "next")).await;
                broker.delete_user(&user("v")).await.unwrap();
            }
        }
        until("the row is gone", async || {
            broker.read(&key).await.is_none()
        })
        .await;
        assert!(
            is_known(&key).await,
            "the row {end}, and its record is gone"
        );
        // The next login has another token.
        broker.put(&key, &row("u", "next")).await;
        assert!(is_known(&key).await, "the row {end} and is stored anew");
    }
}

fn is_redeemed_already(stored: &Result<Version, Error>) -> bool {
    matches!(stored, Err(Error::RefreshTokenRedeemed))
}

/// A `Store` of a refresh token that was redeemed changes nothing: its caller has read the row before the refresh.
pub async fn a_redeemed_token_is_not_stored<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let version = broker.put(&key, &row("u", "new")).await;
    let successor = Successor {
        token: hash("refresh-new"),
        attempt: AttemptId::random(),
        version,
    };
    for (state, is_redeemed) in [
        (EntryState::Redeemed(Some(successor)), true),
        (EntryState::Redeemed(None), true),
        (EntryState::Refused { for_good: true }, true),
        (EntryState::Refused { for_good: false }, false),
        (EntryState::InDoubt, false),
        (EntryState::Open, false),
        (EntryState::Free, false),
    ] {
        broker.remove(&key).await;
        let version = broker.put(&key, &row("u", "new")).await;
        assert!(note(broker.backend(), &key, &known("refresh-old", state)).await);
        let before = backend.dump();
        let stored = broker.store(request(&key, &row("u", "old"))).await;
        match is_redeemed {
            true => {
                assert!(is_redeemed_already(&stored), "{state:?}: {stored:?}");
                assert!(backend.dump() == before, "{state:?}: something changed");
            }
            false => _ = stored.unwrap(),
        }
        if !is_redeemed {
            continue;
        }
        // Conditions come first, and other tokens are none of its business.
        let absent = Precondition::MustNotExist;
        let refused = broker.put_if(&key, &row("u", "old"), absent).await;
        assert!(matches!(refused, Err(Error::RowExists)), "{refused:?}");
        let last = Precondition::Version(version);
        let refused = broker.put_if(&key, &row("u", "old"), last).await;
        assert!(is_redeemed_already(&refused), "{refused:?}");
        assert!(broker.put_if(&key, &row("u", "next"), last).await.is_ok());
        let other = testkit::rows::key("other", "p");
        broker.put(&other, &row("u", "old")).await;
        // Nor does it come back after a delete.
        broker.remove(&key).await;
        let stored = broker.put_if(&key, &row("u", "old"), absent).await;
        assert!(is_redeemed_already(&stored), "{stored:?}");
        assert_eq!(broker.read(&key).await, None);
        broker.put(&key, &bare("at")).await;
    }
}

/// A row that can't be read has a record like any other, and stays as it is.
pub async fn an_unreadable_row_has_a_record<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "at")).await;
    if !backend.spoil(&key) {
        return;
    }
    let store = broker.backend();
    let seen = store.look(&key).await.unwrap();
    assert!(matches!(seen.row, Some(Err(_))));
    let record = known("refresh-at", EntryState::Open);
    assert!(change(store, &key, &seen, &record, None).await);
    let seen = store.look(&key).await.unwrap();
    assert!(matches!(seen.row, Some(Err(_))));
    assert_eq!(seen.record, record);
}

/// Without a row that can be read there is none to change: no change brings one back.
pub async fn i4_a_change_needs_a_row<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    broker.put(&key, &row("u", "at")).await;
    let store = broker.backend();
    let stored = refreshed(&store.look(&key).await.unwrap());
    broker.remove(&key).await;
    let seen = store.look(&key).await.unwrap();
    let row = RowChange {
        stored: &stored,
        keep_for: None,
    };
    let change = Change {
        record: &seen.record,
        row: Some(row),
        ends: None,
    };
    assert!(store.change(&key, &seen, change).await.is_err());
    assert_eq!(broker.read(&key).await, None, "I4: a row came back");
}

/// Changes, stores and deletes of every kind race on the same rows. A change never brings back a row that was deleted,
/// and never overwrites a newer one.
pub async fn i4_changes_racing_everything_undo_nothing<B: Backend>(backend: B) {
    let brokers = [backend.broker(), backend.broker()];
    for round in 0..60 {
        let key = key(&format!("s{round}"), "p");
        brokers[0].put(&key, &row("u", "1")).await;
        let mut changers = JoinSet::new();
        for nth in 0..4 {
            let (broker, key) = (brokers[nth % 2].clone(), key.clone());
            changers.spawn(async move {
                let seen = broker.backend().look(&key).await.unwrap();
                let Some(_) = seen.stored() else { return };
                let stored = refreshed(&seen);
                for _ in 0..nth {
                    yield_now().await;
                }
                let row = RowChange {
                    stored: &stored,
                    keep_for: [None, Some(None), Some(Some(DAY))][nth % 3],
                };
                let record = known("refresh-1", EntryState::Redeemed(None));
                change(broker.backend(), &key, &seen, &record, Some(row)).await;
            });
        }
        // Also where one thread runs everything, or the others have no core.
        for _ in 0..round % 3 {
            yield_now().await;
        }
        let other = &brokers[1];
        let is_stored = round % 4 == 3;
        match round % 4 {
            0 => _ = other.remove(&key).await,
            1 => _ = other.delete_user(&user("u")).await.unwrap(),
            2 => _ = other.delete_all(&key.session).await.unwrap(),
            _ => _ = other.put(&key, &row("v", "2")).await,
        }
        changers.join_all().await;
        match other.read(&key).await {
            // Who saw the newer row may have refreshed it. It is its user's still.
            Some(after) => {
                assert!(is_stored, "I4: a row came back");
                assert_eq!(
                    after.row.user_id,
                    Some(user("v")),
                    "I4: a newer row was lost"
                );
            }
            None => assert!(!is_stored, "I4: a newer row is gone"),
        }
        backend.audit();
    }
}

/// Under everything at once each row is in its indexes, or in none.
pub async fn i1_changes_racing_everything_leave_rows_whole<B: Backend>(backend: B) {
    let brokers = [backend.broker(), backend.broker()];
    let mut dice = Dice::new();
    let keys = [key("s", "p"), key("s", "q"), key("t", "p")];
    for _ in 0..5 {
        let mut tasks = JoinSet::new();
        for number in 0..150 {
            let (broker, key) = (brokers[number % 2].clone(), dice.pick(&keys).clone());
            let mut dice = dice.fork();
            tasks.spawn(async move { anything(&broker, &key, &mut dice).await });
        }
        tasks.join_all().await;
        for key in &keys {
            let stored = brokers[0].read(key).await;
            let in_session = brokers[0].rows_of(&key.session).await.remove(&key.provider);
            assert_eq!(in_session, stored, "I1: Get and GetAll differ");
            for name in ["u", "v"] {
                let listed = brokers[0].listed(&user(name)).await.contains(key);
                let owner = stored
                    .as_ref()
                    .and_then(|stored| stored.row.user_id.as_ref());
                assert_eq!(listed, owner == Some(&user(name)), "I1: {name}'s listing");
            }
        }
        backend.audit();
    }
}

async fn anything<S: Store + Records + Identities>(
    broker: &Broker<S>,
    key: &RowKey,
    dice: &mut Dice,
) {
    let name = *dice.pick(&["u", "v"]);
    match dice.in_range(0..10) {
        0..3 => _ = broker.put(key, &row(name, "at")).await,
        3 => _ = broker.remove(key).await,
        4 => _ = broker.delete_all(&key.session).await.unwrap(),
        5 => _ = broker.delete_user(&user(name)).await.unwrap(),
        _ => {
            let seen = broker.backend().look(key).await.unwrap();
            let stored = seen.stored().map(|_| refreshed(&seen));
            let row = stored.as_ref().map(|stored| RowChange {
                stored,
                keep_for: *dice.pick(&[None, Some(None), Some(Some(DAY)), Some(Some(2 * DAY))]),
            });
            let record = known("other", EntryState::Redeemed(None));
            change(broker.backend(), key, &seen, &record, row).await;
        }
    }
}

/// Who waits for an attempt to end learns of it, also on another broker.
pub async fn an_end_is_told_to_every_broker<B: Backend>(backend: B) {
    let (store, other, key) = (backend.store(), backend.store(), key("s", "p"));
    let tell = async |attempt| {
        let seen = store.look(&key).await.unwrap();
        let change = Change {
            record: &seen.record,
            row: None,
            ends: Some(attempt),
        };
        assert!(store.change(&key, &seen, change).await.unwrap());
    };
    // Whoever waits first is woken by the connection on which the others hear, if not by the end itself.
    for _ in 0..20 {
        let attempt = AttemptId::random();
        let waiting = [store.ended(attempt), other.ended(attempt)].map(tokio::spawn);
        tell(attempt).await;
        for waiting in waiting {
            let waiting = timeout(PATIENCE, waiting).await;
            waiting.expect("an end wasn't told").unwrap();
        }
    }
}
