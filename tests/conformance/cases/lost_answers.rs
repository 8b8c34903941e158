//! I7 (guarantees, section 3.2): no write is applied twice, although its answer gets lost and the broker tries to find
//! out what became of it.

use std::future::Future;

use testkit::{
    broker::{Broker, request, rules},
    rows::*,
};
use token_broker::{
    error::Error,
    store::{Identities, Store},
    tokens::{Precondition, Rules, StoreTokens},
    types::{Row, RowKey, StoredRow, Version},
};

use crate::{
    backend::Backend,
    forgetful::{Fate, Forgetful, PATIENCE},
};

fn silent() -> Row {
    Row {
        refresh_token: None,
        ..row("u", "silent")
    }
}

/// Returns a broker that loses the answer to its first write. Before it learns that, `meanwhile` runs.
fn forgetful<B: Backend>(
    backend: &B,
    fate: Fate,
    meanwhile: impl Future<Output = ()> + Send + 'static,
) -> Broker<Forgetful<B::Store>> {
    let store = Forgetful::once(backend.store(), fate, meanwhile);
    let rules = Rules {
        patience: PATIENCE,
        ..rules(backend.tenant())
    };
    Broker::new(store, rules)
}

/// What another caller does after the answer got lost, before the broker tries to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    Deletes,
    DeletesTheSession,
    DeletesTheUser,
    LogsIn,
}

impl Meanwhile {
    const CHANGES: [Self; 4] = [
        Self::Deletes,
        Self::DeletesTheSession,
        Self::DeletesTheUser,
        Self::LogsIn,
    ];

    async fn run<S: Store + Identities>(self, broker: Broker<S>, key: RowKey) {
        match self {
            Self::Nothing => {}
            Self::Deletes => _ = broker.remove(&key).await,
            Self::DeletesTheSession => _ = broker.delete_all(&key.session).await.unwrap(),
            Self::DeletesTheUser => _ = broker.delete_user(&user("u")).await.unwrap(),
            Self::LogsIn => _ = broker.put(&key, &row("u", "newer")).await,
        }
    }
}

/// The kinds of `Store`. Each is sent on top of a row, except [`Kind::MustNotExist`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Carries,
    CarriesOntoNothing,
    Version,
    VersionAndCarries,
    MustNotExist,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Plain,
        Self::Carries,
        Self::CarriesOntoNothing,
        Self::Version,
        Self::VersionAndCarries,
        Self::MustNotExist,
    ];

    fn request(self, key: &RowKey, version: Version) -> StoreTokens {
        let (precondition, carry_forward) = match self {
            Self::Plain => (None, false),
            Self::Carries | Self::CarriesOntoNothing => (None, true),
            Self::Version => (Some(Precondition::Version(version)), false),
            Self::VersionAndCarries => (Some(Precondition::Version(version)), true),
            Self::MustNotExist => (Some(Precondition::MustNotExist), false),
        };
        StoreTokens {
            precondition,
            carry_forward,
            ..request(key, &silent())
        }
    }
}

/// Stores a row through a broker that loses the answer. Returns the broker's answer, and the row afterwards.
async fn lost_store<B: Backend>(
    backend: &B,
    kind: Kind,
    fate: Fate,
    meanwhile: Meanwhile,
) -> (Result<Version, Error>, Option<StoredRow>) {
    let (other, key) = (backend.broker(), key("s", "p"));
    other.delete_user(&user("u")).await.unwrap();
    let mut before = Version::random();
    if !matches!(kind, Kind::MustNotExist | Kind::CarriesOntoNothing) {
        before = other.put(&key, &row("u", "before")).await;
    }
    let broker = forgetful(backend, fate, meanwhile.run(other.clone(), key.clone()));
    let stored = broker.store(kind.request(&key, before)).await;
    (stored, other.read(&key).await)
}

/// The write was done, and another caller deleted the row or wrote a newer one before the broker looked. The broker
/// doesn't write again, and says that it doesn't know.
pub async fn i7_a_store_that_was_done_undoes_nothing_that_came_after_it<B: Backend>(backend: B) {
    for kind in Kind::ALL {
        for meanwhile in Meanwhile::CHANGES {
            let (stored, left) = lost_store(&backend, kind, Fate::Done, meanwhile).await;
            let case = format!("I7: {kind:?}, {meanwhile:?}: {stored:?}");
            let left = left.map(|stored| refresh_token(&stored.row).to_owned());
            let expected = (meanwhile == Meanwhile::LogsIn).then(|| "refresh-newer".to_owned());
            assert_eq!(left, expected, "{case}");
            assert!(matches!(stored, Err(Error::OutcomeUnknown(_))), "{case}");
        }
    }
}

/// The write was done, and nobody wrote since. The broker finds its own version, and the call is OK.
pub async fn i7_a_store_that_was_done_is_recognized<B: Backend>(backend: B) {
    for kind in Kind::ALL {
        let (stored, left) = lost_store(&backend, kind, Fate::Done, Meanwhile::Nothing).await;
        let (version, left) = (stored.unwrap(), left.unwrap());
        assert_eq!(left.version, version, "{kind:?}");
        assert_eq!(access_token(&left.row), "silent", "{kind:?}");
        let carries = matches!(kind, Kind::Carries | Kind::VersionAndCarries);
        let kept = if carries { "refresh-before" } else { "" };
        assert_eq!(refresh_token(&left.row), kept, "{kind:?}");
    }
}

/// The write never reached the store. It is sent again only on the condition of a version, which holds only if nobody
/// wrote since. Any other answer would be a guess: the write may still come.
pub async fn i7_a_store_that_was_not_done_is_repeated_only_on_a_version<B: Backend>(backend: B) {
    for kind in Kind::ALL {
        let (stored, left) = lost_store(&backend, kind, Fate::NotDone, Meanwhile::Nothing).await;
        let names_a_version = matches!(
            kind,
            Kind::Carries | Kind::Version | Kind::VersionAndCarries
        );
        if names_a_version {
            assert_eq!(left.unwrap().version, stored.unwrap(), "{kind:?}");
        } else {
            let unknown = matches!(stored, Err(Error::OutcomeUnknown(_)));
            assert!(unknown, "{kind:?}: {stored:?}");
        }
        let (stored, left) = lost_store(&backend, kind, Fate::NotDone, Meanwhile::LogsIn).await;
        let unknown = matches!(stored, Err(Error::OutcomeUnknown(_)));
        assert!(unknown, "{kind:?}: {stored:?}");
        assert_eq!(
            refresh_token(&left.unwrap().row),
            "refresh-newer",
            "{kind:?}"
        );
    }
}

/// A carried token's source changed, so that the write surely wasn't done. The broker reads again, and carries the
/// newer token.
pub async fn i7_a_store_whose_source_changed_begins_anew<B: Backend>(backend: B) {
    let (other, source, target) = (backend.broker(), key("source", "p"), key("s", "p"));
    other.put(&source, &row("u", "1")).await;
    other.put(&target, &silent()).await;
    let meanwhile = {
        let other = other.clone();
        async move { _ = other.put(&source, &row("u", "2")).await }
    };
    let broker = forgetful(&backend, Fate::NotDone, meanwhile);
    let version = broker.put_carrying(&target, &silent()).await;
    let stored = other.read(&target).await.unwrap();
    assert_eq!(stored.version, version);
    assert_eq!(refresh_token(&stored.row), "refresh-2");
}

/// A delete that names a version is sent again, because only one attempt can find this version. If a later attempt
/// doesn't find it, the broker can't know who removed it.
pub async fn i7_a_delete_of_a_version_is_done_once<B: Backend>(backend: B) {
    let (other, key) = (backend.broker(), key("s", "p"));
    let before = other.put(&key, &row("u", "before")).await;
    let broker = forgetful(&backend, Fate::NotDone, async {});
    assert!(broker.delete(&key, Some(before)).await.unwrap());

    for fate in [Fate::Done, Fate::NotDone] {
        for meanwhile in [Meanwhile::Deletes, Meanwhile::LogsIn] {
            let before = other.put(&key, &row("u", "before")).await;
            let broker = forgetful(&backend, fate, meanwhile.run(other.clone(), key.clone()));
            let deleted = broker.delete(&key, Some(before)).await;
            let case = format!("I7: {fate:?}, {meanwhile:?}: {deleted:?}");
            assert!(matches!(deleted, Err(Error::OutcomeUnknown(_))), "{case}");
            let left = other.read(&key).await.is_some();
            assert_eq!(left, meanwhile == Meanwhile::LogsIn, "{case}");
        }
    }
}

/// Any other delete is sent once: a second one would delete what another caller stored since.
pub async fn i7_a_delete_spares_what_was_stored_after_it<B: Backend>(backend: B) {
    let (other, key) = (backend.broker(), key("s", "p"));
    for which in 0..3 {
        other.put(&key, &row("u", "before")).await;
        let meanwhile = Meanwhile::LogsIn.run(other.clone(), key.clone());
        let broker = forgetful(&backend, Fate::Done, meanwhile);
        let deleted = match which {
            0 => broker.delete(&key, None).await.map(drop),
            1 => broker.delete_all(&key.session).await.map(drop),
            _ => broker.delete_user(&user("u")).await.map(drop),
        };
        // Its caller repeats a `DeleteUser` until nothing is left.
        let is_told = match which {
            0 | 1 => matches!(deleted, Err(Error::OutcomeUnknown(_))),
            _ => matches!(deleted, Err(Error::StoreUnavailable(_))),
        };
        assert!(is_told, "I7: {which}: {deleted:?}");
        let left = other.read(&key).await.expect("I7: the newer row is there");
        assert_eq!(access_token(&left.row), "newer");
    }
}

/// A write that is sent again finds its own version, and changes nothing.
pub async fn i7_a_write_is_done_once_however_often_it_is_sent<B: Backend>(backend: B) {
    use token_broker::store::{Condition, Put, PutOutcome};

    let (store, broker) = (backend.store(), backend.broker());
    let (key, row) = (key("s", "p"), row("u", "at"));
    let before = broker.put(&key, &row).await;
    let put = |condition, version| {
        let put = Put {
            version,
            condition,
            ..put_always(&key, &row)
        };
        let put = store.put(put);
        async move { put.await.unwrap() }
    };
    let version = Version::random();
    for _ in 0..2 {
        let outcome = put(Condition::Version(before), version).await;
        assert_eq!(outcome, PutOutcome::Written);
    }
    // On these conditions a store only looks whether the write was done.
    let looked = backend.dump();
    assert_eq!(
        put(Condition::Version(version), version).await,
        PutOutcome::Written
    );
    let unknown = Version::random();
    let outcome = put(Condition::Version(unknown), unknown).await;
    assert_eq!(outcome, PutOutcome::VersionMismatch);
    assert!(backend.dump() == looked, "I7: a look changes nothing");
}
