//! Reading all rows of a session, as of one instant.
//!
//! Only the session's index tells which rows there are. But a script that reads the index first is slow: Redis copies
//! and hashes each row to hand it to the script. So the broker guesses which providers the session has, and asks for
//! the index and these rows in one transaction. If the guess lacks a row, the script reads the session, and the next
//! guess is better.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use redis::Value;
use tokio::task::yield_now;

use super::{
    RedisStore,
    keyspace::Key,
    link::{Effect, reply},
    row,
};
use crate::{
    store::{Decoded, Error},
    types::{ProviderName, RowKey, SecretBytes, SessionId},
};

/// How many providers a guess has at most. To look for a row that isn't there costs Redis half a microsecond.
const MOST_LIKELY: usize = 64;
/// After so many guesses, providers that no session had are guessed no more.
const FORGET_AFTER: usize = 1_000;
/// After so many wrong guesses in a row, a guess costs more than it saves...
const MISSES: usize = 16;
/// ...and only one read in so many makes one.
const TRY_AGAIN: usize = 64;
/// After decoding so many bytes, other calls get a turn.
const TURN: usize = 128 * 1024;

/// The providers that the sessions of a tenant had lately.
#[derive(Debug, Default)]
pub(super) struct Likely {
    known: RwLock<Arc<[Guess]>>,
    /// How many guesses were right since providers were forgotten.
    right: AtomicUsize,
    /// How many guesses were wrong since the last right one, and how many weren't made because of that.
    missed: AtomicUsize,
}

/// A provider that a session is likely to have.
#[derive(Debug)]
struct Guess {
    provider: ProviderName,
    /// Whether a session had it since providers were forgotten.
    was_found: AtomicBool,
}

impl Guess {
    fn of(provider: &ProviderName, was_found: bool) -> Self {
        Self {
            provider: provider.clone(),
            was_found: was_found.into(),
        }
    }

    fn was_found(&self) -> bool {
        self.was_found.load(Ordering::Relaxed)
    }

    fn found(&self) {
        // All callers share the flag, and mostly it is set already.
        if !self.was_found() {
            self.was_found.store(true, Ordering::Relaxed);
        }
    }
}

impl Likely {
    /// Returns the providers that a session is likely to have, or none if guesses have been wrong lately.
    fn guess(&self) -> Arc<[Guess]> {
        let missed = self.missed.load(Ordering::Relaxed);
        if missed >= MISSES && !missed.is_multiple_of(TRY_AGAIN) {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return Arc::default();
        }
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of a guess that didn't tell all rows of a session.
    fn was_wrong(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of the providers that a session has. They push out those that were learned first.
    fn learn<'a>(&self, seen: impl IntoIterator<Item = &'a ProviderName>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut next: Vec<_> = seen.into_iter().map(|new| Guess::of(new, true)).collect();
        let is_new = |guess: &&Guess| next.iter().any(|new| new.provider == guess.provider);
        let older = known.iter().filter(|guess| !is_new(guess));
        let older = older.map(|guess| Guess::of(&guess.provider, guess.was_found()));
        let older: Vec<_> = older.collect();
        next.extend(older);
        next.truncate(MOST_LIKELY);
        *known = next.into();
    }

    /// Takes note of a guess that told all rows of a session, which has some. Now and then forgets the providers that
    /// no session had.
    fn was_right(&self) {
        self.missed.store(0, Ordering::Relaxed);
        // Exactly one of the callers forgets.
        if self.right.fetch_add(1, Ordering::Relaxed) + 1 != FORGET_AFTER {
            return;
        }
        self.right.store(0, Ordering::Relaxed);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().filter(|guess| guess.was_found());
        let found: Vec<_> = found
            .map(|guess| Guess::of(&guess.provider, false))
            .collect();
        *known = found.into();
    }
}

type Rows = BTreeMap<ProviderName, Decoded>;

impl RedisStore {
    /// Reads the rows of a session.
    pub(super) async fn read_session(&self, session: &SessionId) -> Result<Rows, Error> {
        if let Some(rows) = self.read_likely_rows(session).await? {
            return Ok(rows);
        }
        let rows = self.read_rows_by_script(session).await?;
        self.likely.learn(rows.keys());
        Ok(rows)
    }

    /// Reads the rows of a session without a script. Returns `None` if that doesn't tell all of them.
    async fn read_likely_rows(&self, session: &SessionId) -> Result<Option<Rows>, Error> {
        let likely = self.likely.guess();
        if likely.is_empty() {
            return Ok(None);
        }
        let key_of = |guess: &Guess| {
            self.keys.row(&RowKey {
                session: session.clone(),
                provider: guess.provider.clone(),
            })
        };
        let keys: Vec<_> = likely.iter().map(key_of).collect();
        let index = self.keys.session_index(session);
        let names: Vec<_> = keys.iter().map(Key::as_str).collect();
        let Some(snapshot) = self.link.snapshot(&index, &names).await? else {
            self.likely.was_wrong();
            return Ok(None);
        };
        let values = likely.iter().zip(snapshot.strings);
        let mut by_key: HashMap<_, _> = names
            .iter()
            .map(|name| name.as_bytes())
            .zip(values)
            .collect();

        let own = self.keys.session_rows(session);
        let (mut decoding, mut foreign) = (Decoding::default(), 0);
        for member in &snapshot.members {
            if !member.starts_with(own.as_bytes()) {
                foreign += 1;
                continue;
            }
            let Some((guess, bytes)) = by_key.remove(&**member) else {
                self.likely.was_wrong();
                return Ok(None);
            };
            if let Some(bytes) = bytes {
                guess.found();
                decoding.add(&guess.provider, &bytes).await;
            }
        }
        if !decoding.rows.is_empty() {
            self.likely.was_right();
        }
        self.note_foreign(foreign);
        Ok(Some(decoding.rows))
    }

    async fn read_rows_by_script(&self, session: &SessionId) -> Result<Rows, Error> {
        let index = self.keys.session_index(session);
        let own = self.keys.session_rows(session);
        let script = &self.redis.scripts().get_session;
        let (keys, args) = ([index.as_str()], [own.as_bytes()]);
        let answer = self.link.call(script, &keys, &args, Effect::Reads).await?;
        let mut items = reply::list(answer)?.into_iter();
        let mut foreign: u64 = reply::parse(items.next().unwrap_or(Value::Int(0)))?;

        let mut decoding = Decoding::default();
        while let (Some(key), Some(bytes)) = (items.next(), items.next()) {
            let key = SecretBytes::new(reply::bytes(key)?.unwrap_or_default());
            let bytes = SecretBytes::new(reply::bytes(bytes)?.unwrap_or_default());
            let provider = std::str::from_utf8(&key)
                .ok()
                .and_then(|key| self.keys.provider_in(&own, key))
                .filter(|provider| provider.check().is_ok());
            let Some(provider) = provider else {
                foreign += 1;
                continue;
            };
            decoding.add(&provider, &bytes).await;
        }
        self.note_foreign(foreign);
        Ok(decoding.rows)
    }
}

/// Rows that are decoded one after the other.
#[derive(Default)]
struct Decoding {
    rows: Rows,
    /// How many bytes were decoded since other calls had a turn.
    bytes: usize,
}

impl Decoding {
    /// Decodes a row. Lets other calls have a turn now and then.
    async fn add(&mut self, provider: &ProviderName, bytes: &[u8]) {
        if let Some(decoded) = row::decode(bytes, provider) {
            self.rows.insert(provider.clone(), decoded);
        }
        self.bytes += bytes.len();
        if self.bytes >= TURN {
            self.bytes = 0;
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(number: usize) -> ProviderName {
        ProviderName::new(format!("p{number}")).unwrap()
    }

    #[test]
    fn the_latest_providers_are_likely() {
        let likely = Likely::default();
        assert!(likely.guess().is_empty());
        for number in 0..MOST_LIKELY + 6 {
            likely.learn([&provider(number), &provider(0)]);
        }
        assert_eq!(likely.guess().len(), MOST_LIKELY);
        assert!(guesses(&likely, 0), "it is in each session");
        assert!(guesses(&likely, MOST_LIKELY + 5));
        assert!(!guesses(&likely, 1));
    }

    #[test]
    fn a_provider_that_no_session_has_any_more_is_forgotten() {
        let likely = Likely::default();
        likely.learn([&provider(0), &provider(1)]);
        // Both count as found in the first while, because they were just learned.
        for right in 1..2 * FORGET_AFTER {
            likely.guess()[0].found();
            likely.was_right();
            assert!(guesses(&likely, 1), "after {right} guesses");
        }
        likely.was_right();
        assert!(!guesses(&likely, 1));
        assert!(guesses(&likely, 0));
    }

    fn guesses(likely: &Likely, number: usize) -> bool {
        let provider = provider(number);
        likely
            .guess()
            .iter()
            .any(|guess| guess.provider == provider)
    }

    #[test]
    fn guesses_that_are_wrong_again_and_again_are_hardly_made() {
        let likely = Likely::default();
        likely.learn([&provider(0)]);
        let made = |likely: &Likely| {
            let made = !likely.guess().is_empty();
            if made {
                likely.was_wrong();
            }
            made
        };
        let count = (0..MISSES + 10 * TRY_AGAIN)
            .filter(|_| made(&likely))
            .count();
        assert!((MISSES + 5..MISSES + 15).contains(&count), "{count}");
        likely.was_right();
        assert!((0..MISSES).all(|_| made(&likely)), "a right one counts");
    }
}
