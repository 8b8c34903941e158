//! How an attempt ends that brings no tokens.

use std::time::Duration;

use super::REMEMBERED;
use crate::types::{
    Attempt, AttemptId, AttemptState, Entry, EntryState, ReauthReason, Record, StoreTime, TokenHash,
};

/// Ends an attempt that surely redeemed nothing. Lifts the doubt that rested on it alone. Returns whether that also lifted a
/// verdict: the row's mark then has to go with the same write.
///
/// The attempt's id is remembered, so that a late copy of its taking has no effect.
pub fn withdraw(record: &mut Record, token: TokenHash, attempt: AttemptId) -> bool {
    let entry = record.entry_mut(token);
    if !entry.end(attempt) {
        return false;
    }
    if entry.holder == Some(attempt) {
        entry.holder = None;
        entry.wanted = None;
    }
    if entry.unresolved() > 0 || !matches!(entry.state, EntryState::Open | EntryState::InDoubt) {
        return false;
    }
    let lifted = entry.state == EntryState::InDoubt;
    entry.state = EntryState::Free;
    entry.holder = None;
    entry.first_taken = None;
    // Nothing was refreshed, so that nothing has to be throttled.
    entry.rejected_at = None;
    lifted
}

/// Ends an attempt that the provider didn't serve, and that surely redeemed nothing. Until `not_before` nobody takes the
/// token. Returns the same as [`withdraw`].
pub fn passing(
    record: &mut Record,
    token: TokenHash,
    attempt: AttemptId,
    not_before: StoreTime,
) -> bool {
    if record.entry(token).and_then(|e| e.attempt(attempt)) == Some(AttemptState::Ended) {
        return false;
    }
    let lifted = withdraw(record, token, attempt);
    let entry = record.entry_mut(token);
    entry.not_before = entry.not_before.max(Some(not_before));
    entry.failures = entry.failures.saturating_add(1);
    lifted
}

/// Takes note that an attempt has no answer: the token may have been redeemed. When others may take it, [`take`](super::take)
/// says. If an attempt had failed before, that is not for this `pause`.
pub fn no_answer(
    record: &mut Record,
    token: TokenHash,
    attempt: AttemptId,
    now: StoreTime,
    pause: Duration,
) {
    let Some(AttemptState::Running) = record.entry(token).and_then(|e| e.attempt(attempt)) else {
        return;
    };
    let entry = record.entry_mut(token);
    entry.set(attempt, AttemptState::NoAnswer);
    if entry.failures > 0 {
        entry.not_before = entry.not_before.max(Some(now.plus(pause)));
    }
    entry.failures = entry.failures.saturating_add(1);
    if entry.holder == Some(attempt) {
        entry.lease_ends = entry.lease_ends.min(now);
    }
}

/// A refusal of a token by the provider.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// The attempt that was refused.
    pub attempt: AttemptId,
    /// Whether the row still holds the token.
    pub is_held: bool,
    /// Whether no operator can take the verdict back.
    pub for_good: bool,
    /// When the record was read, by the store's clock.
    pub now: StoreTime,
}

/// Takes note that the provider refused the token for good. If another attempt may have redeemed it, that is why, and the
/// verdict is that the token is in doubt. Returns the verdict, or `None` if there is none: the attempt has ended, the token
/// was redeemed, or the row holds another one.
pub fn refused(record: &mut Record, token: TokenHash, refusal: Refusal) -> Option<ReauthReason> {
    let Refusal {
        attempt,
        is_held,
        for_good,
        now,
    } = refusal;
    let entry = record.entry_mut(token);
    if !entry.end(attempt) || matches!(entry.state, EntryState::Redeemed(_)) {
        return None;
    }
    let in_doubt = entry.unresolved() > 0 && !for_good;
    if entry.holder == Some(attempt) {
        entry.holder = None;
        entry.wanted = None;
    }
    if !is_held {
        // Nobody asks for this token any more. One that was redeemed for another user's tokens must not come back.
        if for_good {
            entry.state = EntryState::Refused { for_good };
        } else if !in_doubt {
            entry.state = EntryState::Free;
        }
        return None;
    }
    let (state, reason) = if in_doubt {
        (EntryState::InDoubt, ReauthReason::InDoubt)
    } else {
        (EntryState::Refused { for_good }, ReauthReason::Refused)
    };
    entry.state = state;
    entry.refused_at = Some(now);
    Some(reason)
}

/// Takes back what a provider refused at `since` or later, so that the token may be sent again. Returns whether there was
/// such a refusal. A doubt can't be taken back.
pub fn clear_refused(record: &mut Record, token: TokenHash, since: StoreTime) -> bool {
    let refused = EntryState::Refused { for_good: false };
    let is_refused = record
        .entry(token)
        .is_some_and(|entry| entry.state == refused && entry.refused_at >= Some(since));
    if !is_refused {
        return false;
    }
    let entry = record.entry_mut(token);
    entry.refused_at = None;
    entry.state = EntryState::Free;
    entry.holder = None;
    entry.first_taken = None;
    entry.failures = 0;
    true
}

/// Forgets the oldest of too many attempts.
fn forget_one(attempts: &mut Vec<Attempt>, kind: impl Fn(&Attempt) -> bool) {
    if attempts.iter().filter(|attempt| kind(attempt)).count() > REMEMBERED
        && let Some(oldest) = attempts.iter().position(kind)
    {
        attempts.remove(oldest);
    }
}

impl Entry {
    /// Ends an attempt. Returns false if it had ended. One that isn't known is added, so that its taking has no effect if
    /// it arrives late.
    pub(super) fn end(&mut self, attempt: AttemptId) -> bool {
        if self.attempt(attempt) == Some(AttemptState::Ended) {
            return false;
        }
        self.set(attempt, AttemptState::Ended);
        true
    }

    fn set(&mut self, id: AttemptId, state: AttemptState) {
        match self.attempts.iter_mut().find(|attempt| attempt.id == id) {
            Some(attempt) => attempt.state = state,
            None => self.attempts.push(Attempt { id, state }),
        }
        self.forget();
    }

    /// Forgets the oldest attempts. The holder isn't forgotten, and as many others stay whose outcome isn't known as make a
    /// token in doubt.
    pub(super) fn forget(&mut self) {
        let holder = self.holder;
        let ended = |attempt: &Attempt| attempt.state == AttemptState::Ended;
        let open = |attempt: &Attempt| !ended(attempt) && Some(attempt.id) != holder;
        forget_one(&mut self.attempts, ended);
        forget_one(&mut self.attempts, open);
    }
}
