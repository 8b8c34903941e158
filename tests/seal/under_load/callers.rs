//! Who calls while rows are sealed again: a broker that has both keys, and one that doesn't have the new one yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use testkit::{
    broker::request,
    rotating_provider::RotatingProvider,
    rows::{access_token, key, row},
};
use token_broker::{
    error::Error,
    tokens::{Binding, StoreTokens, Wanted},
    types::{Row, RowKey, StoredRow, Version},
};

use crate::refreshing::Refreshing;

/// How long a caller waits between two calls. Redis has something left for the rotation.
const PAUSE: Duration = Duration::from_millis(1);
/// How long a caller waits for an access token. One that was obtained and can't be written isn't waited for longer than that.
const PATIENCE: Duration = Duration::from_secs(2);

/// When each call began, and how long it took.
pub type Times = Vec<(Instant, Duration)>;

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The broker with both keys stores it again and again.
    Stored,
    /// The broker without the new key stores it without a refresh token, and so carries the one that it has over.
    Carried,
    /// Both brokers are asked for its access token at the same time.
    Shared,
    /// The broker without the new key is asked for its access token.
    Behind,
    /// It is only read.
    Left,
}

impl Kind {
    pub fn of(number: usize) -> Self {
        match number % 10 {
            0 => Self::Stored,
            1 => Self::Carried,
            2 => Self::Shared,
            3 | 4 => Self::Behind,
            _ => Self::Left,
        }
    }

    /// Whether its access token expires, so that it is refreshed again and again.
    pub fn is_refreshed(self) -> bool {
        matches!(self, Self::Shared | Self::Behind)
    }
}

/// Returns the key of the row with this number.
pub fn of(number: usize) -> RowKey {
    key(&format!("s{number}"), "p")
}

/// Returns the user of the row with this number. A refresh token isn't carried over to another user.
pub fn user(number: usize) -> String {
    format!("u{}", number % 100)
}

/// The rows, and who is asked for them.
pub struct World {
    pub rows: usize,
    /// The versions that the rows had when they were stored first.
    pub versions: BTreeMap<usize, Version>,
    pub at: RotatingProvider,
    /// The broker with both keys.
    pub ahead: Refreshing,
    /// The broker without the new key.
    pub behind: Refreshing,
    /// Whether the callers have to end.
    pub stop: AtomicBool,
    /// How often each did what it does.
    pub stored: AtomicUsize,
    pub carried: AtomicUsize,
    pub refreshed_behind: AtomicUsize,
}

/// What became of calls for access tokens.
#[derive(Debug, Default)]
pub struct Asked {
    pub served: Times,
    /// The key was missing.
    pub missing: usize,
    /// The broker without the new key had redeemed the refresh token, and couldn't write what it got.
    pub waiting: usize,
}

impl World {
    /// Returns the numbers of the rows of a kind, again and again until the callers have to end.
    fn again_and_again(&self, kind: Kind) -> impl Iterator<Item = usize> {
        let numbers = (0..self.rows).filter(move |number| Kind::of(*number) == kind);
        numbers.cycle().take_while(|_| !self.is_over())
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Stores rows. Returns what was stored last in each.
    pub async fn store(&self) -> BTreeMap<usize, (String, Version)> {
        let mut last = BTreeMap::new();
        for number in self.again_and_again(Kind::Stored) {
            let round = self.stored.fetch_add(1, Ordering::Relaxed);
            let token = format!("round-{round}");
            let version = self.ahead.put(&of(number), &row("u", &token)).await;
            last.insert(number, (token, version));
            tokio::time::sleep(PAUSE).await;
        }
        last
    }

    /// Stores rows without a refresh token, at the broker without the new key. Returns what was stored last in each, and how
    /// often the key was missing.
    pub async fn carry_over(&self) -> (BTreeMap<usize, (String, Version)>, usize) {
        let (mut last, mut missing) = (BTreeMap::new(), BTreeSet::new());
        for number in self.again_and_again(Kind::Carried) {
            let token = format!("carried-{}", self.carried.load(Ordering::Relaxed));
            let next = Row {
                refresh_token: None,
                ..row(&user(number), &token)
            };
            let carrying = StoreTokens {
                carry_forward: true,
                ..request(&of(number), &next)
            };
            match self.behind.store(carrying).await {
                Ok(version) => {
                    assert!(!missing.contains(&number), "{number}: overwritten");
                    self.carried.fetch_add(1, Ordering::Relaxed);
                    last.insert(number, (token, version));
                }
                Err(Error::KeyMissing(_)) => _ = missing.insert(number),
                Err(error) => panic!("{number}: {error:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        (last, missing.len())
    }

    /// Asks the broker without the new key for the access tokens of every `lanes`th row.
    pub async fn ask_behind(&self, lane: usize, lanes: usize) -> Asked {
        let mut asked = Asked::default();
        let mine = self.again_and_again(Kind::Behind);
        for number in mine.skip(lane).step_by(lanes) {
            let served = asked.count(&self.behind, number).await;
            if served.is_some() {
                self.refreshed_behind.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(PAUSE).await;
        }
        asked
    }

    /// Asks both brokers for the access token of each row at the same time. Returns what became of the calls at the one with both
    /// keys, and at the other one.
    pub async fn ask_both(&self) -> (Asked, Asked) {
        let (mut ahead, mut behind) = (Asked::default(), Asked::default());
        for number in self.again_and_again(Kind::Shared) {
            tokio::join!(
                ahead.count(&self.ahead, number),
                behind.count(&self.behind, number),
            );
            assert_eq!(ahead.missing, 0, "{number}: it has all keys");
            tokio::time::sleep(PAUSE).await;
        }
        (ahead, behind)
    }

    /// Reads all rows again and again, at the broker with both keys: each one can be read, always.
    pub async fn read_with_both_keys(&self) -> Times {
        let mut reads = Vec::new();
        for number in (0..self.rows).cycle().take_while(|_| !self.is_over()) {
            let begun = Instant::now();
            let read = self.ahead.get(&of(number), &Binding::default()).await;
            reads.push((begun, begun.elapsed()));
            let read = read.unwrap_or_else(|error| panic!("{number}: {error:?}"));
            assert!(!access_token(&read.row).is_empty());
            if Kind::of(number) == Kind::Left {
                self.is_as_before(number, &read);
            }
            tokio::time::sleep(PAUSE).await;
        }
        reads
    }

    /// Checks a row that nobody wrote.
    pub fn is_as_before(&self, number: usize, read: &StoredRow) {
        assert_eq!(access_token(&read.row), format!("at-{number}"));
        assert_eq!(read.version, self.versions[&number], "{number}");
    }

    /// Reads all rows again and again, at the broker without the new key: it sees each row until that is sealed with the new
    /// key, and is told that the key is missing from then on. Returns of how many rows it was told that.
    pub async fn read_without_the_new_key(&self) -> usize {
        let mut missing = BTreeSet::new();
        for number in (0..self.rows).cycle().take_while(|_| !self.is_over()) {
            let read = self.behind.get(&of(number), &Binding::default()).await;
            match read {
                Ok(stored) => {
                    assert!(!access_token(&stored.row).is_empty());
                    assert!(!missing.contains(&number), "{number}: overwritten");
                }
                Err(Error::KeyMissing(_)) => _ = missing.insert(number),
                Err(error) => panic!("{number}: {error:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        missing.len()
    }
}

impl Asked {
    /// Adds what became of other calls.
    pub fn add(&mut self, other: Self) {
        self.served.extend(other.served);
        self.missing += other.missing;
        self.waiting += other.waiting;
    }

    /// Asks a broker for the access token of a row.
    async fn count(&mut self, broker: &Refreshing, number: usize) -> Option<StoredRow> {
        let (begun, deadline) = (Instant::now(), tokio::time::Instant::now() + PATIENCE);
        let wanted = Wanted::default();
        let answer = broker
            .access_token(&of(number), &wanted, &Binding::default(), deadline)
            .await;
        match answer {
            Ok(stored) => {
                assert!(access_token(&stored.row).starts_with("at-"), "{number}");
                self.served.push((begun, begun.elapsed()));
                return Some(stored);
            }
            Err(Error::KeyMissing(_)) => self.missing += 1,
            Err(Error::ProviderUnavailable { .. }) => self.waiting += 1,
            Err(error) => panic!("{number}: {error:?}"),
        }
        None
    }
}
