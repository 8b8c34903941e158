//! Tests what becomes of a row whose bytes were changed in any way: it opens as it was, or not at all, and who asks is told the
//! right reason.
//!
//! `kinds` has the rows, `mutation` the changes. `judge` says what has to become of a row, and `flaws` has readers that do
//! otherwise.

mod flaws;
mod judge;
mod kinds;
mod mutation;

use std::{cell::RefCell, collections::BTreeMap, env};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestError, TestRunner},
};
use testkit::{rows::key, sealing};
use token_broker::{
    store::redis::row,
    types::{StoredRow, Version},
};

pub use self::mutation::{Mutation, mutations};
use self::{
    judge::{Open, Outcome, judge},
    kinds::{Kind, bytes},
};
use crate::full;

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

/// How often each came.
type Seen = BTreeMap<Outcome, u32>;

/// Mutates rows of all kinds, and has a reader open them.
fn run(
    runner: &mut TestRunner,
    only_sealed: bool,
    open: Open,
) -> Result<Seen, TestError<(Index, Vec<Mutation>)>> {
    let seen = RefCell::new(Seen::new());
    let rows = (any::<Index>(), mutations());
    runner.run(&rows, |(kind, mutations)| {
        let kind = kind.get(&kinds::ALL);
        let mut bytes = kind.bytes.clone();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        let outcome = judge(kind, &bytes, only_sealed, open)?;
        *seen.borrow_mut().entry(outcome).or_default() += 1;
        Ok(())
    })?;
    Ok(seen.into_inner())
}

/// Mutates rows, and checks that each of these came of it. Otherwise nothing would show that they were looked at.
fn has_shown(only_sealed: bool, all: &[Outcome]) {
    let cases = env::var("SEAL_MUTATIONS").map_or(5_000, |count| count.parse().unwrap());
    let seen = run(&mut runner(cases), only_sealed, Kind::open).unwrap();
    println!("{cases} mutations: {seen:?}");
    for outcome in all {
        assert!(seen.contains_key(outcome), "{outcome:?} never came");
    }
}

/// A row that lost its envelope is a plain one: `require-sealed` is there for that, and the next test.
#[test]
fn a_row_that_was_mutated_opens_as_it_was_or_not_at_all() {
    has_shown(
        false,
        &[
            Outcome::Same,
            Outcome::Plain,
            Outcome::NoJson,
            Outcome::WrongType,
            Outcome::AnotherProvider,
            Outcome::BadText,
            Outcome::HalfSealed,
            Outcome::NoEnvelope,
            Outcome::Changed,
            Outcome::KeyMissing,
        ],
    );
}

/// Where rows have to be sealed, there is no plain row to be planted: it opens as it was, or not at all.
#[test]
fn a_row_that_was_mutated_is_never_taken_for_a_plain_one_where_all_have_to_be_sealed() {
    has_shown(true, &[Outcome::Same, Outcome::NotSealed, Outcome::Changed]);
}

/// The rows themselves are good, so that it is the mutations that show something.
#[test]
fn a_row_that_was_not_mutated_opens_if_its_key_is_here() {
    for kind in &*kinds::ALL {
        let outcome = judge(kind, &kind.bytes, true, Kind::open).unwrap();
        let expected = match kind.has_key {
            true => Outcome::Same,
            false => Outcome::KeyMissing,
        };
        assert_eq!(outcome, expected, "{}", kind.what);
    }
}

#[test]
fn a_reader_with_a_flaw_is_found_out() {
    for (flaw, open, told) in flaws::ALL {
        let mut runner = TestRunner::new(Config {
            cases: 20_000,
            failure_persistence: None,
            max_shrink_iters: 0,
            ..Config::default()
        });
        let ran = run(&mut runner, false, open);
        match &ran {
            Err(TestError::Fail(why, _)) => assert!(why.message().contains(told), "{flaw}: {why}"),
            _ => panic!("{flaw}: {ran:?}"),
        }
    }
}

/// Every row comes back from its bytes as it was sealed.
#[test]
fn any_row_opens_as_it_was_sealed() {
    // What a caller may store.
    let text = || prop_oneof![4 => "[a-zA-Z0-9 .:/_-]{1,40}", 1 => "\\PC{1,8}"];
    let scope = || prop_oneof![4 => "[a-zA-Z0-9.:/_-]{1,40}", 1 => "[^\\pC\\pZ]{1,8}"];
    let rows = (
        text(),
        text(),
        text(),
        prop::collection::vec(scope(), 0..4),
        any::<bool>(),
    );
    let (key, sealing) = (
        key("s", "p"),
        sealing::sealing(&"test:seal".parse().unwrap(), &kinds::KEYS),
    );
    let ran = runner(500).run(&rows, |(token, user, kind, scopes, is_bare)| {
        let mut row = match is_bare {
            true => testkit::rows::bare(&token),
            false => full("u", &token),
        };
        row.user_id = token_broker::types::UserId::new(user).ok();
        row.token_type = kind;
        row.scopes = scopes;
        let stored = StoredRow {
            row,
            version: Version::random(),
        };
        let bytes = bytes(&sealing, &key, &stored);
        let said = row::decode(&bytes, &key.provider).unwrap().unwrap();
        prop_assert_eq!(sealing.open(&key, said).ok(), Some(stored));
        Ok(())
    });
    ran.unwrap();
}
