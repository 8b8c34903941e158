//! I6 as a property: two different ids never collide, whatever they contain.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngAlgorithm, RngSeed, TestRunner},
};
use testkit::{broker::Broker, rows::*};
use token_broker::{store::Store, types::RowKey};
use tokio::{runtime::Handle, task::block_in_place};

use crate::{backend::Backend, dice::seed};

/// Generates ids from the text that keys are made of, which collide most easily.
fn piece() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        ":", "%", "{", "}", " ", "a", "b", "idx", "3A", "25", "%3A", "%25", "%69dx", "{a}", "é",
        "upstream", "user", "provider", "1", "\u{2028}", "\u{feff}", "/", "\\", "*", "?", "[a]",
    ]);
    piece.prop_map(ToOwned::to_owned)
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => vec(piece(), 1..4).prop_map(|pieces| pieces.concat()),
        1 => "[^\\p{Cc}]{1,30}",
    ]
}

/// The session, provider and user of a row.
type Triple = (String, String, String);

/// Cuts a text into a session and a provider at every position. An implementation that simply joins
/// the two gets the same text for all of them.
fn look_alikes() -> impl Strategy<Value = Vec<Triple>> {
    let glue = prop::sample::select(vec!["", ":", "::", " ", "%3A"]);
    (vec(piece(), 2..5), glue).prop_map(|(pieces, glue)| {
        let cut = |at: usize| {
            let (session, provider) = (pieces[..at].join(glue), pieces[at..].join(glue));
            (
                session.clone(),
                provider.clone(),
                session + glue + &provider,
            )
        };
        (1..pieces.len()).map(cut).collect()
    })
}

fn triples() -> impl Strategy<Value = Vec<Triple>> {
    let alone = (id(), id(), id()).prop_map(|triple| vec![triple]);
    vec(prop_oneof![alone, look_alikes()], 1..16).prop_map(|triples| triples.concat())
}

/// Runs `test` on values of `strategy`. If it fails, tries smaller values.
pub fn check<V: std::fmt::Debug>(
    cases: u32,
    strategy: impl Strategy<Value = V>,
    test: impl AsyncFn(V),
) {
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed()),
        rng_algorithm: RngAlgorithm::ChaCha,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        block_in_place(|| Handle::current().block_on(test(value)));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Every pair keeps the row that was stored for it: read alone, in its session, and at its user.
/// The row only goes when it is deleted itself.
pub async fn i6_different_pairs_never_share_a_row<B: Backend>(backend: B) {
    check(12, triples(), async |triples| {
        let broker = backend.fresh().broker();
        let mut expected = BTreeMap::new();
        for (number, (session, provider, user)) in triples.into_iter().enumerate() {
            let (key, row) = (key(&session, &provider), row(&user, &number.to_string()));
            broker.put(&key, &row).await;
            expected.insert(key, (user, number.to_string()));
        }
        agrees(&broker, &expected).await;

        // Half of the rows are deleted: one by one, by session and by user.
        for (number, key) in expected.clone().into_keys().enumerate() {
            if !expected.contains_key(&key) {
                continue;
            }
            match number % 6 {
                0 => {
                    broker.remove(&key).await;
                    expected.remove(&key);
                }
                2 => {
                    broker.delete_all(&key.session).await.unwrap();
                    expected.retain(|other, _| other.session != key.session);
                }
                4 => {
                    let owner = expected[&key].0.clone();
                    broker.delete_user(&user(&owner)).await.unwrap();
                    expected.retain(|_, (other, _)| *other != owner);
                }
                _ => {}
            }
        }
        agrees(&broker, &expected).await;
    });
}

async fn agrees<S: Store>(broker: &Broker<S>, expected: &BTreeMap<RowKey, (String, String)>) {
    for (key, (_, token)) in expected {
        let stored = broker
            .read(key)
            .await
            .expect("I6: a row went with another one");
        assert_eq!(
            access_token(&stored.row),
            token,
            "I6: the row of another pair"
        );
    }
    let sessions: BTreeSet<_> = expected.keys().map(|key| &key.session).collect();
    for session in sessions {
        let rows = broker.rows_of(session).await;
        let own = expected.keys().filter(|key| key.session == *session);
        assert!(
            rows.keys().eq(own.map(|key| &key.provider)),
            "I6: another session's rows"
        );
    }
    let users: BTreeSet<_> = expected.values().map(|(user, _)| user).collect();
    for name in users {
        let listed = broker.listed(&user(name)).await;
        let own = expected.iter().filter(|(_, (owner, _))| owner == name);
        assert!(
            listed.iter().eq(own.map(|(key, _)| key)),
            "I6: another user's rows"
        );
    }
}
