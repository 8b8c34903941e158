//! What the brokers know about the redemption of refresh tokens (guarantees, section 6).

use std::{fmt, time::Duration};

use super::{Lineage, Secret, Version, sha256};

/// How many entries of resolved tokens a record keeps. Those that aren't resolved are kept beside them.
const ENTRIES: usize = 8;
/// How many tokens may be open at the same time. Only a client that keeps storing other tokens in the row, and completes no
/// attempt, gets so far.
const OPEN: usize = 32;

/// What the brokers know about the refresh tokens that were taken for one session and provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    entries: Vec<Entry>,
}

impl Record {
    /// Returns the record with these entries. The one whose token was taken first comes first.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// Returns the entries. The one whose token was taken first comes first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entry of a refresh token.
    #[must_use]
    pub fn entry(&self, token: TokenHash) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.token == token)
    }

    /// Whether a refresh token is known to be redeemed, so that no row may hold it any more.
    #[must_use]
    pub fn is_redeemed(&self, token: TokenHash) -> bool {
        let entry = self.entry(token);
        entry.is_some_and(|entry| entry.state.is_redeemed())
    }

    /// Returns the entry of a refresh token, which is a free one if the record had none. To make room, the oldest
    /// entries that are resolved go. Of too many open ones, the oldest is in doubt from now on.
    pub fn entry_mut(&mut self, token: TokenHash) -> &mut Entry {
        let at = self.entries.iter().position(|entry| entry.token == token);
        let at = at.unwrap_or_else(|| {
            self.make_room();
            self.entries.push(Entry::free(token));
            self.entries.len() - 1
        });
        &mut self.entries[at]
    }

    /// Makes the entry of a refresh token the last one, because the token is taken, or has just come from the provider.
    pub fn move_to_end(&mut self, token: TokenHash) {
        if let Some(at) = self.entries.iter().position(|entry| entry.token == token) {
            self.entries[at..].rotate_left(1);
        }
    }

    fn make_room(&mut self) {
        let open = |entry: &Entry| !entry.is_resolved();
        if self.entries.iter().filter(|&entry| open(entry)).count() >= OPEN
            && let Some(oldest) = self.entries.iter_mut().find(|entry| open(entry))
        {
            oldest.state = EntryState::InDoubt;
        }
        let resolved = self.entries.iter().filter(|entry| entry.is_resolved());
        if resolved.count() >= ENTRIES
            && let Some(oldest) = self.entries.iter().position(Entry::is_resolved)
        {
            self.entries.remove(oldest);
        }
    }
}

/// What the brokers know about one refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The refresh token.
    pub token: TokenHash,
    /// What became of it.
    pub state: EntryState,
    /// The attempts to redeem it, in the order in which they were taken.
    pub attempts: Vec<Attempt>,
    /// The attempt that was taken last, unless it was withdrawn.
    pub holder: Option<AttemptId>,
    /// When the holder's lease ends, or ended.
    pub lease_ends: StoreTime,
    /// Another broker waits for the holder to show itself. The holder's lease had ended then.
    pub wanted: Option<Wanted>,
    /// When the first attempt was taken of those that may have redeemed the token.
    pub first_taken: Option<StoreTime>,
    /// Before that, nobody takes the token.
    pub not_before: Option<StoreTime>,
    /// How many attempts in a row failed in passing.
    pub failures: u32,
    /// When the provider refused the token.
    pub refused_at: Option<StoreTime>,
    /// When this token, or one that came before it, was last taken because a resource server had refused the access token.
    pub rejected_at: Option<StoreTime>,
}

impl Entry {
    /// Returns the entry of a token that nobody has taken.
    #[must_use]
    pub fn free(token: TokenHash) -> Self {
        Self {
            token,
            state: EntryState::Free,
            attempts: Vec::new(),
            holder: None,
            lease_ends: StoreTime::default(),
            wanted: None,
            first_taken: None,
            not_before: None,
            failures: 0,
            refused_at: None,
            rejected_at: None,
        }
    }

    /// Whether it is known that the token isn't being redeemed: no attempt may still have an effect.
    fn is_resolved(&self) -> bool {
        self.state != EntryState::Open
    }

    /// Returns the state of an attempt, or `None` if it isn't known here.
    #[must_use]
    pub fn attempt(&self, id: AttemptId) -> Option<AttemptState> {
        let attempt = self.attempts.iter().find(|attempt| attempt.id == id);
        attempt.map(|attempt| attempt.state)
    }

    /// Returns the attempt that is redeeming the token now, as far as is known.
    #[must_use]
    pub fn running(&self) -> Option<AttemptId> {
        let holder = self.holder.filter(|_| self.state == EntryState::Open)?;
        (self.attempt(holder) == Some(AttemptState::Running)).then_some(holder)
    }

    /// Returns how many attempts may have redeemed the token.
    #[must_use]
    pub fn unresolved(&self) -> usize {
        let unresolved = |attempt: &&Attempt| attempt.state != AttemptState::Ended;
        self.attempts.iter().filter(unresolved).count()
    }
}

/// A note that a broker waits for the holder of a token to show itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// When it was noted.
    pub since: StoreTime,
    /// In which data. `None`: that isn't known.
    pub lineage: Option<Lineage>,
}

/// What became of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryState {
    /// Nobody has taken it, or it was surely not redeemed.
    Free,
    /// It was taken, and the outcome isn't known.
    Open,
    /// It was redeemed. Without a successor, what it was redeemed for isn't in the row.
    Redeemed(Option<Successor>),
    /// The provider refused it.
    Refused {
        /// Whether no operator can take the verdict back, because the answer was about another user.
        for_good: bool,
    },
    /// It may have been redeemed, and nobody has the answer.
    InDoubt,
}

impl EntryState {
    /// Whether the token is known to be redeemed. The provider redeemed it as well if it answered about another user.
    #[must_use]
    pub fn is_redeemed(self) -> bool {
        matches!(self, Self::Redeemed(_) | Self::Refused { for_good: true })
    }
}

/// What a refresh token was redeemed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Successor {
    /// The new refresh token.
    pub token: TokenHash,
    /// The attempt whose result it is.
    pub attempt: AttemptId,
    /// The version of the row with this result.
    pub version: Version,
}

/// An attempt to redeem a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// What is known of it.
    pub state: AttemptState,
}

/// What is known of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// Who took it may be sending, or has died.
    Running,
    /// Who took it has no answer, and doesn't know whether the token was redeemed.
    NoAnswer,
    /// It has no effect any more: it was withdrawn, answered, or given up.
    Ended,
}

/// A refresh token as records tell it apart from others: its SHA-256. `Debug` prints the beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the hash of a refresh token.
    #[must_use]
    pub fn of(token: &Secret) -> Self {
        Self(sha256(token.expose().as_bytes()))
    }

    /// Returns the token with this SHA-256.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the SHA-256.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// The id of an attempt. Who makes the attempt draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(u128);

impl AttemptId {
    /// Returns an id that no other attempt has.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Returns the id with this number.
    #[must_use]
    pub fn from_number(number: u128) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u128 {
        self.0
    }
}

/// A moment of the store's clock, which all brokers share: milliseconds after the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTime(u64);

impl StoreTime {
    /// Returns the moment so many milliseconds after the epoch.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds after the epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0
    }

    /// Returns the moment `span` after this one.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Returns how long after `earlier` this moment is. It is zero if it isn't later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(n: u8) -> TokenHash {
        TokenHash::from_bytes([n; 32])
    }

    #[test]
    fn an_old_entry_makes_room_unless_it_is_open() {
        let mut record = Record::default();
        for n in 0..8 {
            record.entry_mut(token(n)).state = EntryState::Redeemed(None);
        }
        record.entry_mut(token(0)).state = EntryState::Open;
        record.entry_mut(token(8));
        record.entry_mut(token(9));
        let left: Vec<_> = record.entries().iter().map(|entry| entry.token).collect();
        assert_eq!(left.len(), 9);
        assert!(left.contains(&token(0)) && !left.contains(&token(1)));
        for n in 0..20 {
            record.entry_mut(token(n)).state = EntryState::Open;
        }
        assert_eq!(record.entries().len(), 20);
    }

    #[test]
    fn a_record_does_not_grow_without_end() {
        let mut record = Record::default();
        for n in 0..200 {
            record.entry_mut(token(n)).state = EntryState::Open;
        }
        assert_eq!(record.entries().len(), ENTRIES + OPEN - 1);
        let state = |n| record.entry(token(n)).map(|entry| entry.state);
        assert_eq!(state(199), Some(EntryState::Open));
        assert_eq!(state(165), Some(EntryState::InDoubt));
        assert_eq!(state(0), None);
    }

    #[test]
    fn an_entry_that_is_used_again_is_the_last() {
        let mut record = Record::default();
        for n in 0..8 {
            record.entry_mut(token(n)).state = EntryState::Redeemed(None);
        }
        record.move_to_end(token(0));
        record.entry_mut(token(8));
        assert!(record.entry(token(0)).is_some() && record.entry(token(1)).is_none());
        assert_eq!(record.entries()[7].token, token(8));
    }

    #[test]
    fn a_hash_prints_only_its_beginning() {
        let secret = Secret::new("refresh".to_owned()).unwrap();
        let printed = format!("{:?}", TokenHash::of(&secret));
        assert_eq!(printed, "TokenHash(d6cc..)");
    }
}
