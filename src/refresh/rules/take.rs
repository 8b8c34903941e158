//! Taking a refresh token in order to redeem it, and keeping it.

use super::{LEASE, Policy, Rotation};
use crate::types::{
    Attempt, AttemptId, AttemptState, Entry, EntryState, Lineage, ReauthReason, Record, StoreTime,
    TokenHash, Wanted,
};

/// So many attempts may have redeemed a token of a provider that rotates. There is never a third one.
const SENDINGS: usize = 2;

/// What became of a try to take a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The attempt has the token for [`LEASE`], counted from before the record was read. The record has to be written
    /// first.
    Taken,
    /// Another attempt has the token, or it is too early. Nothing has changed. It makes sense to try again at that time.
    Wait(StoreTime),
    /// The attempt that has the token was asked to show itself. The record has to be written. It makes sense to try again
    /// at that time.
    Asked(StoreTime),
    /// The token can't be redeemed. The record has to be written if it has changed, and the row be marked if it isn't.
    Verdict(ReauthReason),
    /// The attempt has ended, has no answer, or has lost the token to another one. Nothing has changed.
    Ended,
    /// A resource server refused the access token, but it was refreshed because of that shortly before. Nothing has
    /// changed.
    Throttled,
}

/// Who takes a token, why, and when.
#[derive(Clone, Copy, Debug)]
pub struct Taking<'a> {
    /// The attempt that takes it.
    pub attempt: AttemptId,
    /// What the provider's settings say.
    pub policy: &'a Policy,
    /// Whether a token that may have been redeemed can be sent again now.
    pub may_resend: bool,
    /// Whether it is taken because a resource server refused the access token.
    pub is_rejected: bool,
    /// When the record was read, by the store's clock.
    pub now: StoreTime,
    /// The lineage of the store when the record was read. While it isn't known, nobody takes a token over from a holder that
    /// may live.
    pub lineage: Option<Lineage>,
}

/// Tries to take the refresh token that the row holds. An attempt that has it already keeps it, and its lease begins anew.
pub fn take(record: &mut Record, token: TokenHash, taking: &Taking<'_>) -> Take {
    let known = record.entry(token).cloned();
    let mut entry = known.unwrap_or_else(|| Entry::free(token));
    let outcome = take_entry(&mut entry, taking);
    if matches!(outcome, Take::Taken | Take::Asked(_) | Take::Verdict(_)) {
        *record.entry_mut(token) = entry;
    }
    if outcome == Take::Taken {
        record.move_to_end(token);
    }
    outcome
}

fn take_entry(entry: &mut Entry, taking: &Taking<'_>) -> Take {
    let (attempt, now) = (taking.attempt, taking.now);
    match entry.attempt(attempt) {
        Some(AttemptState::Running)
            if entry.state == EntryState::Open && entry.holder == Some(attempt) =>
        {
            entry.begin_lease(now);
            return Take::Taken;
        }
        // Each sending counts as an attempt. One that may have sent, and hasn't the token any more, never sends again.
        Some(_) => return Take::Ended,
        None => {}
    }
    match entry.state {
        EntryState::Refused { .. } => return Take::Verdict(ReauthReason::Refused),
        // A row that holds a redeemed token holds what other software, or a backup, put back.
        EntryState::InDoubt | EntryState::Redeemed(_) => {
            return Take::Verdict(ReauthReason::InDoubt);
        }
        EntryState::Free | EntryState::Open => {}
    }
    if let Some(not_before) = entry.not_before.filter(|&not_before| now < not_before) {
        return Take::Wait(not_before);
    }
    if entry.state == EntryState::Open {
        match take_over(entry, taking) {
            Take::Taken => {}
            outcome => return outcome,
        }
    }
    // One that is open is gone on with. That isn't another refresh.
    if taking.is_rejected && entry.state == EntryState::Free {
        let again = |last: StoreTime| last.plus(taking.policy.rejected_interval);
        if entry.rejected_at.is_some_and(|last| now < again(last)) {
            return Take::Throttled;
        }
        entry.rejected_at = Some(now);
    }
    entry.attempts.push(Attempt {
        id: attempt,
        state: AttemptState::Running,
    });
    entry.state = EntryState::Open;
    entry.holder = Some(attempt);
    entry.forget();
    entry.first_taken.get_or_insert(now);
    entry.begin_lease(now);
    Take::Taken
}

/// Decides about a token that another attempt has taken. [`Take::Taken`] means that it may be taken.
fn take_over(entry: &mut Entry, taking: &Taking<'_>) -> Take {
    let &Taking {
        policy,
        now,
        lineage,
        ..
    } = taking;
    // A holder that has no answer doesn't renew its lease, and nobody needs to ask it.
    let asks = entry
        .holder
        .is_some_and(|id| entry.attempt(id) == Some(AttemptState::Running));
    let has_holder = entry.holder.is_some();
    if has_holder && now < entry.lease_ends {
        return Take::Wait(entry.lease_ends);
    }
    let over = entry.lease_ends.plus(policy.request_timeout);
    if asks && policy.rotation != Rotation::None {
        // When another server takes over, what the holder wrote may be lost. Its silence means something only in data of one
        // lineage, and is waited for anew in another one.
        let noted = entry
            .wanted
            .filter(|wanted| lineage.is_some() && wanted.lineage == lineage);
        match noted.map(|wanted| wanted.since) {
            None if now < over => return Take::Wait(over),
            None => {
                entry.wanted = Some(Wanted {
                    since: now,
                    lineage,
                });
                return Take::Asked(now.plus(LEASE));
            }
            Some(since) if now < since.plus(LEASE) => return Take::Wait(since.plus(LEASE)),
            Some(_) => {}
        }
    }
    let within_grace = match policy.rotation {
        Rotation::None => true,
        // The request still has to arrive while the grace lasts.
        Rotation::Grace(grace) => entry
            .first_taken
            .is_some_and(|first| now.plus(LEASE) < first.plus(grace)),
        Rotation::Strict => false,
    };
    if within_grace {
        return Take::Taken;
    }
    if policy.never_replay || entry.unresolved() >= SENDINGS {
        entry.state = EntryState::InDoubt;
        return Take::Verdict(ReauthReason::InDoubt);
    }
    if has_holder && now < over {
        return Take::Wait(over);
    }
    if !taking.may_resend && entry.unresolved() > 0 {
        return Take::Wait(now.plus(LEASE));
    }
    Take::Taken
}

/// Renews the lease of an attempt. Returns whether it still has the token: if not, it doesn't send.
pub fn renew(record: &mut Record, token: TokenHash, attempt: AttemptId, now: StoreTime) -> bool {
    let holds = record.entry(token).is_some_and(|entry| {
        entry.state == EntryState::Open
            && entry.holder == Some(attempt)
            && entry.attempt(attempt) == Some(AttemptState::Running)
    });
    if holds {
        record.entry_mut(token).begin_lease(now);
    }
    holds
}

impl Entry {
    fn begin_lease(&mut self, now: StoreTime) {
        self.lease_ends = now.plus(LEASE);
        self.wanted = None;
    }
}
