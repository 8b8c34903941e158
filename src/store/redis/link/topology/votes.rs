//! What the sentinels have said, and which of it counts.
//!
//! A sentinel that is named twice, as `localhost` and as `127.0.0.1`, has one vote. Sentinels may also spell the address
//! of one primary in several ways.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::store::redis::{Address, link::wire::ConnectError};

/// How long an answer of a sentinel counts. If no majority has named the primary for this time, another
/// server may have followed it.
pub const STALENESS: Duration = Duration::from_secs(2);

/// What the sentinels have said, by their positions in the settings.
#[derive(Debug)]
pub struct Votes {
    /// The last answer of each sentinel.
    pub words: Vec<Option<Word>>,
    /// Why the last question to each sentinel failed.
    pub failures: Vec<Option<ConnectError>>,
    /// When the first sentinel answered.
    pub first: Option<Instant>,
}

/// The answer of a sentinel.
#[derive(Clone, Debug)]
pub struct Word {
    /// The id of the sentinel. Empty if it doesn't tell.
    pub voter: String,
    /// The address of the primary.
    pub address: Address,
    /// The id of the primary's process. Empty if the sentinel doesn't know it.
    pub run_id: String,
    /// The configuration epoch.
    pub epoch: u64,
    /// When the sentinel was asked.
    pub at: Instant,
}

/// Who gave an answer: a sentinel with this id, or the one at this position.
type Voter<'a> = Result<&'a str, usize>;

impl Word {
    /// Whether both answers name the same server.
    fn agrees_with(&self, other: &Self) -> bool {
        self.address == other.address || (!self.run_id.is_empty() && self.run_id == other.run_id)
    }
}

impl Votes {
    /// Returns the votes of sentinels that haven't said anything yet.
    pub fn of(sentinels: usize) -> Self {
        Self {
            words: vec![None; sentinels],
            failures: vec![None; sentinels],
            first: None,
        }
    }

    /// Returns how many sentinels are a majority.
    pub fn majority(&self) -> usize {
        let named = self.words.iter().enumerate();
        let voters = named.map(|(at, word)| match word {
            Some(word) => voter(at, word),
            None => Err(at),
        });
        voters.collect::<BTreeSet<_>>().len() / 2 + 1
    }

    /// Returns how many sentinels have answered.
    pub fn count(&self) -> usize {
        count(self.all())
    }

    /// Returns the answer that counts: the one with the newest epoch. Of several with this epoch, one that
    /// names the `current` primary counts.
    ///
    /// If a majority has answered lately, the other sentinels are left out, because their answers may be out
    /// of date.
    pub fn newest(&self, current: Option<&Address>) -> Option<Word> {
        let fresh = || self.all().filter(|(_, word)| word.at.elapsed() < STALENESS);
        let words: Vec<_> = match count(fresh()) >= self.majority() {
            true => fresh().collect(),
            false => self.all().collect(),
        };
        let words = words.into_iter().map(|(_, word)| word);
        let rank = |word: &&Word| (word.epoch, Some(&word.address) == current, word.at);
        words.max_by_key(rank).cloned()
    }

    /// Returns when a majority had named the same server as `word`.
    pub fn confirmed(&self, word: &Word) -> Option<Instant> {
        let mut latest = BTreeMap::new();
        for (voter, said) in self.all().filter(|(_, said)| said.agrees_with(word)) {
            let at = latest.entry(voter).or_insert(said.at);
            *at = said.at.max(*at);
        }
        let mut times: Vec<_> = latest.into_values().collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(self.majority() - 1).copied()
    }

    fn all(&self) -> impl Iterator<Item = (Voter<'_>, &Word)> {
        let words = self.words.iter().enumerate();
        words.filter_map(|(at, word)| word.as_ref().map(|word| (voter(at, word), word)))
    }
}

fn voter(at: usize, word: &Word) -> Voter<'_> {
    match word.voter.as_str() {
        "" => Err(at),
        id => Ok(id),
    }
}

fn count<'v>(words: impl Iterator<Item = (Voter<'v>, &'v Word)>) -> usize {
    let voters: BTreeSet<_> = words.map(|(voter, _)| voter).collect();
    voters.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(host: &str, epoch: u64, age: Duration) -> Option<Word> {
        Some(Word {
            voter: String::new(),
            address: Address::Tcp(host.to_owned(), 6379),
            run_id: String::new(),
            epoch,
            at: Instant::now() - age,
        })
    }

    fn votes(words: [Option<Word>; 3]) -> Votes {
        Votes {
            words: words.into(),
            ..Votes::of(3)
        }
    }

    /// Returns the address that counts of three answers if `current` was the primary.
    fn counts(words: [Option<Word>; 3], current: Option<&str>) -> String {
        let current = current.map(|host| Address::Tcp(host.to_owned(), 6379));
        let newest = votes(words).newest(current.as_ref());
        newest.unwrap().address.to_string()
    }

    const NOW: Duration = Duration::ZERO;
    const LONG_AGO: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_newest_epoch_counts() {
        let words = [word("a", 1, NOW), word("b", 2, NOW), word("a", 1, NOW)];
        assert_eq!(counts(words, Some("a")), "b:6379");
    }

    #[test]
    fn who_fell_silent_is_not_believed_for_ever() {
        // Two sentinels were set up again, which restarts their epochs, while the third was away.
        let words = [word("b", 0, NOW), word("b", 0, NOW), word("a", 7, LONG_AGO)];
        assert_eq!(counts(words, Some("a")), "b:6379");
        let words = [word("b", 0, NOW), None, word("a", 7, LONG_AGO)];
        assert_eq!(counts(words, Some("a")), "a:6379", "one is no majority");
    }

    #[test]
    fn two_spellings_of_one_epoch_do_not_take_turns() {
        let words = || {
            [
                word("a", 1, LONG_AGO / 3_600),
                word("b", 1, NOW),
                word("a", 1, NOW),
            ]
        };
        assert_eq!(counts(words(), Some("a")), "a:6379");
        assert_eq!(counts(words(), Some("b")), "b:6379");
    }

    #[test]
    fn a_sentinel_that_is_named_twice_has_one_vote() {
        let mut words = [word("a", 1, NOW), word("a", 1, NOW), None];
        assert!(
            votes(words.clone())
                .confirmed(words[0].as_ref().unwrap())
                .is_some()
        );
        for word in words.iter_mut().flatten() {
            word.voter = "s1".to_owned();
        }
        let votes = votes(words.clone());
        assert_eq!((votes.count(), votes.majority()), (1, 2));
        assert!(votes.confirmed(words[0].as_ref().unwrap()).is_none());
    }

    #[test]
    fn two_spellings_of_a_primary_are_one_primary() {
        let mut words = [word("a", 1, NOW), word("name", 1, NOW), None];
        assert!(
            votes(words.clone())
                .confirmed(words[0].as_ref().unwrap())
                .is_none()
        );
        for word in words.iter_mut().flatten() {
            word.run_id = "r".to_owned();
        }
        assert!(
            votes(words.clone())
                .confirmed(words[0].as_ref().unwrap())
                .is_some()
        );
    }
}
