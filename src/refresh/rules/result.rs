//! Where the tokens go that an attempt was answered with.

use crate::types::{
    AttemptId, AttemptState, Entry, EntryState, Record, Successor, TokenHash, Version,
};

/// What a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its refresh token.
    pub token: Option<TokenHash>,
    /// Its version.
    pub version: Version,
}

/// An attempt that was answered with tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The attempt.
    pub attempt: AttemptId,
    /// The refresh token that was redeemed.
    pub token: TokenHash,
    /// The refresh token that the row will hold. If the provider sent none, it is the one that was redeemed.
    pub successor: TokenHash,
    /// The version of the row when the token was taken.
    pub taken_at: Version,
    /// The version that the row will have.
    pub version: Version,
}

impl Answered {
    fn keeps_token(&self) -> bool {
        self.successor == self.token
    }
}

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// Merge it into the row that was read, and write that if it still has this version, with the record that [`written`]
    /// makes.
    Write(Version),
    /// The row has it. Where writes have to be durable, that isn't known yet: write the record as it is.
    Confirm,
    /// Somebody stored the new refresh token, with what belongs to it. Write the record that [`given_up`] makes.
    Note,
    /// The row is gone, or holds a refresh token that somebody stored meanwhile. Write the record that [`given_up`] makes;
    /// only when that is durable, so is what replaced the token, and the answer may be thrown away.
    GiveUp,
    /// The provider sent no refresh token, and the row was written meanwhile or is gone. Withdraw the attempt: the token is as
    /// good as before.
    Withdraw,
}

/// Decides what is to be done with an answer, by the record and the row as they are now.
///
/// The answer belongs to the refresh token that was redeemed: it goes into whatever row holds that.
#[must_use]
pub fn place(record: &Record, row: Option<Held>, answered: &Answered) -> Placing {
    // Nothing was used up by an answer that keeps the token.
    let Some(row) = row else {
        return if answered.keeps_token() {
            Placing::Withdraw
        } else {
            Placing::GiveUp
        };
    };
    if row.version == answered.version {
        return Placing::Confirm;
    }
    if answered.keeps_token() {
        let is_untouched = row.token == Some(answered.token) && row.version == answered.taken_at;
        return if is_untouched {
            Placing::Write(row.version)
        } else {
            Placing::Withdraw
        };
    }
    let holds_earlier_result = record
        .entry(answered.token)
        .is_some_and(|entry| entry.has_earlier_result(row, answered.attempt));
    if row.token == Some(answered.token) || holds_earlier_result {
        Placing::Write(row.version)
    } else if row.token == Some(answered.successor) {
        Placing::Note
    } else {
        Placing::GiveUp
    }
}

/// Takes note that a row gets the answer.
pub fn written(record: &mut Record, answered: &Answered) {
    let entry = record.entry_mut(answered.token);
    entry.end(answered.attempt);
    if answered.keeps_token() {
        let taken_over = entry.state == EntryState::Open && entry.holder != Some(answered.attempt);
        if !taken_over {
            entry.resolve(EntryState::Free);
        }
        return;
    }
    entry.resolve(EntryState::Redeemed(Some(Successor {
        token: answered.successor,
        attempt: answered.attempt,
        version: answered.version,
    })));
    let rejected_at = entry.rejected_at;
    // The latest of all redeemed tokens is the last one that is forgotten.
    record.move_to_end(answered.token);
    let next = record.entry_mut(answered.successor);
    next.rejected_at = next.rejected_at.max(rejected_at);
    // A provider may give out a token again that it had redeemed. It is as good as new.
    if next.state != EntryState::Open {
        next.resolve(EntryState::Free);
        record.move_to_end(answered.successor);
    }
}

/// Takes note that a token was redeemed and that no row gets the answer.
pub fn given_up(record: &mut Record, token: TokenHash, attempt: AttemptId) {
    let entry = record.entry_mut(token);
    entry.end(attempt);
    if !matches!(entry.state, EntryState::Redeemed(_)) {
        entry.resolve(EntryState::Redeemed(None));
        record.move_to_end(token);
    }
}

impl Entry {
    /// Whether the row holds the result of an attempt that was taken before this one, and nobody has stored it again.
    fn has_earlier_result(&self, row: Held, attempt: AttemptId) -> bool {
        let EntryState::Redeemed(Some(successor)) = self.state else {
            return false;
        };
        let order = |id| self.attempts.iter().position(|other| other.id == id);
        row.version == successor.version
            && row.token == Some(successor.token)
            && order(attempt) > order(successor.attempt)
    }

    /// Takes note of what became of the token. No attempt is open any more.
    fn resolve(&mut self, state: EntryState) {
        self.state = state;
        self.refused_at = None;
        self.holder = None;
        self.wanted = None;
        self.first_taken = None;
        self.not_before = None;
        self.failures = 0;
        for attempt in &mut self.attempts {
            attempt.state = AttemptState::Ended;
        }
    }
}
