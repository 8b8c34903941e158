//! Tests what becomes of a sealed pending authorization whose bytes were changed in any way: it opens as it was, or not at all.
//! Readers that bind less than they should are caught by the same looks.

use std::{env, ops::Range};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use testkit::sealing;
use token_broker::{
    error::Unopened,
    store::{Sealing, redis::pending as stored},
    types::{Payload, PendingAuthorization, State},
};

use crate::{
    mutations::{Mutation, mutations},
    pending, tenant,
};

type Opened = Result<PendingAuthorization, Unopened>;
/// Opens what was decoded.
type Open = fn(&Sealed, PendingAuthorization) -> Opened;

/// An authorization, its bytes in Redis, and who reads them.
struct Sealed {
    state: State,
    sealing: Sealing,
    original: PendingAuthorization,
    text: String,
    open: Open,
}

impl Sealed {
    async fn new() -> Self {
        let tenant = tenant();
        let keys = ["k", "l"];
        let pending = pending::pending(&tenant, &keys);
        pending.create(pending::new("x")).await.unwrap();
        let (state, text) = (State::new("x").unwrap(), pending::text(&tenant, "x"));
        let sealing = sealing::sealing(tenant.name(), &keys);
        let sealed = stored::decode(text.as_bytes()).unwrap().unwrap();
        let original = sealing.open_pending(&state, sealed).unwrap();
        Self {
            state,
            sealing,
            original,
            text,
            open: Self::open,
        }
    }

    fn open(&self, sealed: PendingAuthorization) -> Opened {
        self.sealing.open_pending(&self.state, sealed)
    }

    /// What comes of these bytes.
    fn outcome(&self, bytes: &[u8]) -> Outcome {
        let sealed = match stored::decode(bytes) {
            None => return Outcome::Foreign,
            Some(Err(_)) => return Outcome::Damaged,
            Some(Ok(sealed)) => sealed,
        };
        let was_plain = matches!(sealed.payload, Payload::Plain(_));
        match (self.open)(self, sealed) {
            Err(Unopened::Damaged { .. }) => Outcome::Damaged,
            Err(Unopened::KeyMissing { .. }) => Outcome::KeyMissing,
            Ok(_) if was_plain => Outcome::Plain,
            Ok(opened) => {
                let json = |pending| stored::encode(pending).unwrap();
                match *json(&opened) == *json(&self.original) {
                    true => Outcome::Same,
                    false => Outcome::Another,
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Other software's.
    Foreign,
    Damaged,
    KeyMissing,
    /// It opens as it was.
    Same,
    /// It opens, and says something else.
    Another,
    /// It is taken for one that was never sealed.
    Plain,
}

/// Returns where the fingerprint of the key is in a text.
pub fn fingerprint(text: &str) -> Range<usize> {
    let before = r#""sealed":"1.k."#;
    let at = text.find(before).unwrap() + before.len();
    at..at + 16
}

/// Returns the places in which a flipped bit doesn't have the outcome that it should.
fn misread_bits(sealed: &Sealed) -> Vec<(usize, Outcome)> {
    let begins = r#"{"broker":""#.len();
    let fingerprint = fingerprint(&sealed.text);
    let mut misread = Vec::new();
    for at in 0..sealed.text.len() {
        for bit in 0..8 {
            let mut bytes = sealed.text.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let is_right = match sealed.outcome(&bytes) {
                Outcome::Foreign => at < begins,
                Outcome::Damaged => at >= begins,
                Outcome::KeyMissing => fingerprint.contains(&at),
                _ => false,
            };
            if !is_right {
                misread.push((at, sealed.outcome(&bytes)));
            }
        }
    }
    misread
}

/// Returns the lengths of which bytes that were cut off don't have the outcome that they should.
fn misread_lengths(sealed: &Sealed) -> Vec<usize> {
    let begins = r#"{"broker":""#.len();
    let outcome = |length: usize| sealed.outcome(&sealed.text.as_bytes()[..length]);
    let right = |length: usize| match length < begins {
        true => Outcome::Foreign,
        false => Outcome::Damaged,
    };
    let lengths = 0..sealed.text.len();
    lengths
        .filter(|length| outcome(*length) != right(*length))
        .collect()
}

/// Mutates the bytes, and fails if one of them opens as anything else than it was.
fn mutated(sealed: &Sealed) -> Result<(), TestError<Vec<Mutation>>> {
    let cases = env::var("SEAL_MUTATIONS").map_or(5_000, |count| count.parse().unwrap());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };
    // The same ones in each run, so that a flaw is found in each.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let is_strict = sealed.sealing.require_sealed;
    runner.run(&mutations(), |mutations| {
        let mut bytes = sealed.text.clone().into_bytes();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        match sealed.outcome(&bytes) {
            Outcome::Another => Err(TestCaseError::fail("it says something else")),
            Outcome::Plain if is_strict => Err(TestCaseError::fail("it is taken for a plain one")),
            _ => Ok(()),
        }
    })
}

#[tokio::test]
async fn an_authorization_that_was_changed_opens_as_it_was_or_not_at_all() {
    let mut sealed = Sealed::new().await;
    assert_eq!(misread_bits(&sealed), []);
    assert_eq!(misread_lengths(&sealed), Vec::<usize>::new());
    mutated(&sealed).unwrap();
    // Some changes change nothing. Otherwise nothing would show that it opens at all.
    for harmless in ["", " ", "\n\t"] {
        let bytes = format!("{}{harmless}", sealed.text);
        assert_eq!(sealed.outcome(bytes.as_bytes()), Outcome::Same);
    }
    assert_eq!(
        sealed.outcome(format!("{}x", sealed.text).as_bytes()),
        Outcome::Damaged
    );
    sealed.sealing.require_sealed = true;
    mutated(&sealed).unwrap();
}

/// The controls: readers that don't bind one field of what stays readable, each of which is caught in that field alone; and one
/// that doesn't look whether an envelope opens.
#[tokio::test]
async fn a_reader_that_binds_less_is_caught() {
    let mut sealed = Sealed::new().await;
    let flaws: [(&str, Open); 4] = [
        ("session-of-the-login", |sealed, mut pending| {
            let session = std::mem::replace(&mut pending.session, sealed.original.session.clone());
            let opened = sealed.open(pending)?;
            Ok(PendingAuthorization { session, ..opened })
        }),
        ("client-of-the-login", |sealed, mut pending| {
            let client = std::mem::replace(&mut pending.client, sealed.original.client.clone());
            let opened = sealed.open(pending)?;
            Ok(PendingAuthorization { client, ..opened })
        }),
        ("user-of-the-login", |sealed, mut pending| {
            let user = std::mem::replace(&mut pending.user, sealed.original.user.clone());
            let opened = sealed.open(pending)?;
            Ok(PendingAuthorization { user, ..opened })
        }),
        ("1.k.", |sealed, pending| {
            let payload = Payload::Plain(token_broker::types::SecretBytes::new(Vec::new()));
            let unopened = PendingAuthorization {
                payload,
                ..pending.clone()
            };
            Ok(sealed.open(pending).unwrap_or(unopened))
        }),
    ];
    for (field, open) in flaws {
        sealed.open = open;
        let at = sealed.text.find(field).unwrap();
        let misread = misread_bits(&sealed);
        let is_hit =
            |(found, outcome): &(usize, Outcome)| *found == at && *outcome == Outcome::Another;
        assert!(misread.iter().any(is_hit), "{field}: {misread:?}");
        assert!(mutated(&sealed).is_err(), "{field}");
    }
}
