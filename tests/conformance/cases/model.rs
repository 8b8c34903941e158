//! A model of the broker that fits on a page, and random sequences of calls that both must answer
//! alike. Rows don't expire here. `lifetime.rs` and `invariants.rs` test rows that do.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, sample::select};
use testkit::{
    broker::{Broker, request},
    rows::*,
};
use token_broker::{
    error::Error,
    store::{Identities, Store},
    tokens::{Precondition, StoreTokens},
    types::{Row, RowKey, Subject, UserId, Version},
};

use super::ids::check;
use crate::backend::Backend;

const SESSIONS: [&str; 3] = ["s", "t", "s:t"];
const PROVIDERS: [&str; 4] = ["p", "q", "r", "rotating"];
const USERS: [&str; 3] = ["u", "v", "u:v"];
/// A limit so small that random calls reach it.
const MOST_PROVIDERS: usize = 3;

#[derive(Clone, Debug)]
enum Call {
    Store {
        key: RowKey,
        user: Option<&'static str>,
        subject: &'static str,
        brings_refresh_token: bool,
        carry: bool,
        condition: Wish,
    },
    Delete(RowKey, Wish),
    DeleteAll(&'static str),
    DeleteUser(&'static str),
    Latest(&'static str, &'static str),
}

/// A condition, in terms of what the caller knows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wish {
    Nothing,
    Absent,
    /// The version that was read last.
    Current,
    /// The version before the last.
    Stale,
}

fn key() -> impl Strategy<Value = RowKey> {
    let pair = (select(&SESSIONS[..]), select(&PROVIDERS[..]));
    pair.prop_map(|(session, provider)| testkit::rows::key(session, provider))
}

fn call() -> impl Strategy<Value = Call> {
    use Wish::{Absent, Current, Nothing, Stale};
    let wish = select(vec![Nothing, Nothing, Nothing, Absent, Current, Stale]);
    let delete_wish = select(vec![Nothing, Current, Stale]);
    let store = (
        key(),
        option::weighted(0.9, select(&USERS[..])),
        select(&["x", "y"][..]),
        any::<bool>(),
        any::<bool>(),
        wish,
    )
        .prop_map(
            |(key, user, subject, brings_refresh_token, carry, condition)| Call::Store {
                key,
                user,
                subject,
                brings_refresh_token,
                carry,
                condition,
            },
        );
    prop_oneof![
        10 => store,
        3 => (key(), delete_wish).prop_map(|(key, wish)| Call::Delete(key, wish)),
        1 => select(&SESSIONS[..]).prop_map(Call::DeleteAll),
        1 => select(&USERS[..]).prop_map(Call::DeleteUser),
        3 => (select(&USERS[..]), select(&PROVIDERS[..]))
            .prop_map(|(user, provider)| Call::Latest(user, provider)),
    ]
}

/// The expected rows, and the versions that callers remember.
#[derive(Default)]
struct Model {
    rows: BTreeMap<RowKey, Row>,
    versions: BTreeMap<RowKey, Vec<Version>>,
}

impl Model {
    fn of_user<'a>(&'a self, user: &'a UserId) -> impl Iterator<Item = (&'a RowKey, &'a Row)> {
        self.rows
            .iter()
            .filter(move |(_, row)| row.user_id.as_ref() == Some(user))
    }

    /// Returns the refresh token that a row keeps (guarantees, section 2.1).
    fn carried(&self, key: &RowKey, new: &Row) -> Option<String> {
        new.user_id.as_ref()?;
        let fits = |row: &&Row| {
            row.refresh_token.is_some()
                && row.user_id == new.user_id
                && row.upstream_subject == new.upstream_subject
        };
        let token = |row: &Row| refresh_token(row).to_owned();
        if let Some(replaced) = self.rows.get(key).filter(fits) {
            return Some(token(replaced));
        }
        if key.provider.as_str() == "rotating" {
            return None;
        }
        let others = self.of_user(new.user_id.as_ref()?);
        others
            .filter(|(other, _)| other.provider == key.provider)
            .map(|(_, row)| row)
            .filter(fits)
            .max_by_key(|row| row.expires_at)
            .map(token)
    }

    fn version(&self, key: &RowKey, wish: Wish) -> Version {
        let known = self.versions.get(key).map_or(&[][..], Vec::as_slice);
        let back = if wish == Wish::Stale { 2 } else { 1 };
        let index = known.len().checked_sub(back);
        index.map_or_else(Version::random, |index| known[index])
    }

    /// Returns the refusal of a condition, or `None` if it holds.
    fn refusal(&self, key: &RowKey, wish: Wish) -> Option<&'static str> {
        let current = self.versions.get(key).and_then(|known| known.last());
        let current = current.filter(|_| self.rows.contains_key(key));
        match wish {
            Wish::Nothing => None,
            Wish::Absent => current.map(|_| "exists"),
            wish => (current != Some(&self.version(key, wish))).then_some("mismatch"),
        }
    }
}

/// The broker gives the same answers and has the same rows as the model, call by call.
pub async fn the_broker_does_what_its_model_does<B: Backend>(backend: B) {
    check(24, vec(call(), 1..60), async |calls| {
        let backend = backend.fresh();
        let broker = backend.broker_with(|rules| rules.limits.providers = MOST_PROVIDERS);
        let mut model = Model::default();
        for (number, call) in calls.into_iter().enumerate() {
            answer(&broker, &mut model, number, call).await;
        }
        compare(&broker, &model).await;
        backend.audit();
    });
}

async fn answer<S: Store + Identities>(
    broker: &Broker<S>,
    model: &mut Model,
    number: usize,
    call: Call,
) {
    match call {
        Call::Store {
            key,
            user,
            subject,
            brings_refresh_token,
            carry,
            condition,
        } => {
            let row = Row {
                access_token: secret(&format!("at-{number}")),
                refresh_token: brings_refresh_token
                    .then(|| secret(&format!("rt-{number}")))
                    .flatten(),
                user_id: user.map(testkit::rows::user),
                upstream_subject: Subject::new(subject).ok(),
                // No two rows expire at the same time, so there is always one latest row.
                expires_at: in_seconds(3_600 + number as i64),
                ..Row::default()
            };
            store(broker, model, key, row, carry, condition).await;
        }
        Call::Delete(key, wish) => {
            let version = (wish != Wish::Nothing).then(|| model.version(&key, wish));
            let expected = match model.rows.contains_key(&key) {
                true => model.refusal(&key, wish).map_or(Ok(true), Err),
                false => Ok(false),
            };
            assert_eq!(
                broker
                    .delete(&key, version)
                    .await
                    .map_err(|error| name(&error)),
                expected
            );
            if expected == Ok(true) {
                model.rows.remove(&key);
            }
        }
        Call::DeleteAll(name) => {
            let before = model.rows.len();
            model.rows.retain(|key, _| key.session.as_str() != name);
            let deleted = broker.delete_all(&session(name)).await.unwrap();
            assert_eq!(deleted as usize, before - model.rows.len());
        }
        Call::DeleteUser(name) => {
            let before = model.rows.len();
            model.rows.retain(|_, row| row.user_id != Some(user(name)));
            let deleted = broker.delete_user(&user(name)).await.unwrap();
            assert_eq!(deleted.rows as usize, before - model.rows.len());
            assert_eq!(deleted.existed, deleted.rows > 0);
        }
        Call::Latest(name, at) => {
            let owner = user(name);
            let rows = model
                .of_user(&owner)
                .filter(|(key, _)| key.provider.as_str() == at);
            let latest = rows.map(|(_, row)| row).max_by_key(|row| row.expires_at);
            let found = broker
                .latest_for_user(&user(name), &provider(at), &Default::default())
                .await
                .ok();
            assert_eq!(found.map(|found| sent(&found.row)).as_ref(), latest);
        }
    }
}

async fn store<S: Store + Identities>(
    broker: &Broker<S>,
    model: &mut Model,
    key: RowKey,
    mut row: Row,
    carry_forward: bool,
    wish: Wish,
) {
    let precondition = match wish {
        Wish::Nothing => None,
        Wish::Absent => Some(Precondition::MustNotExist),
        wish => Some(Precondition::Version(model.version(&key, wish))),
    };
    let request = StoreTokens {
        precondition,
        carry_forward,
        ..request(&key, &row)
    };
    let stored = broker.store(request).await.map_err(|error| name(&error));

    let others = model
        .rows
        .keys()
        .filter(|other| other.session == key.session && **other != key);
    let full = others.count() >= MOST_PROVIDERS && !model.rows.contains_key(&key);
    let refusal = model.refusal(&key, wish).or(full.then_some("full"));
    assert_eq!(stored.err(), refusal);
    let Ok(version) = stored else { return };
    if carry_forward && row.refresh_token.is_none() {
        row.refresh_token = model.carried(&key, &row).and_then(|token| secret(&token));
    }
    model.versions.entry(key.clone()).or_default().push(version);
    model.rows.insert(key, row);
}

fn name(error: &Error) -> &'static str {
    match error {
        Error::RowExists => "exists",
        Error::VersionMismatch => "mismatch",
        Error::TooManyProviders { .. } => "full",
        error => panic!("{error:?}"),
    }
}

async fn compare<S: Store + Identities>(broker: &Broker<S>, model: &Model) {
    for name in SESSIONS {
        let found = broker.rows_of(&session(name)).await;
        let found: Vec<_> = found
            .iter()
            .map(|(p, stored)| (p, sent(&stored.row)))
            .collect();
        let own = model
            .rows
            .iter()
            .filter(|(key, _)| key.session.as_str() == name);
        let expected: Vec<_> = own.map(|(key, row)| (&key.provider, row.clone())).collect();
        assert_eq!(found, expected);
    }
    for (key, row) in &model.rows {
        let stored = broker.read(key).await.unwrap();
        assert_eq!(
            (sent(&stored.row), stored.version),
            (row.clone(), model.version(key, Wish::Current))
        );
    }
    for name in USERS {
        let owner = user(name);
        assert!(
            broker
                .listed(&owner)
                .await
                .iter()
                .eq(model.of_user(&owner).map(|(key, _)| key))
        );
    }
}
