//! An attempt to redeem a refresh token, after it was taken: retries each write of what becomes of it until the store has it.

use std::{future::pending, time::Duration};

use tokio::time::sleep;

use super::{
    decide::marked,
    merge::merge,
    provider::{ProviderOptions, TokenAnswer},
    rules::{
        Answered, Held, LEASE, Placing, Refusal, given_up, no_answer, passing, place, refused,
        renew, withdraw, written,
    },
    subject::{self, Mismatch},
    told,
};
use crate::{
    audit::Witness,
    store::{Change, Decoded, Error, Records, RowChange, Seen},
    types::{
        AttemptId, EntryState, Origin, ReauthReason, Record, Row, RowKey, StoredRow, TokenHash,
        UnixTime, Version, keep_for,
    },
};

/// How long before a lease is renewed. There are three tries a lease.
const RENEW_AFTER: Duration = Duration::from_millis(900);
/// How often a write that somebody else's came before is tried again at once. Then there are pauses, and callers are told what isn't
/// stored yet: whatever keeps it from being written, nobody is to be kept busy by it.
const HASTE: usize = 8;
/// How long to wait before something is written again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
];

/// An attempt to redeem the refresh token of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a, S> {
    /// Where the row and its record are.
    pub store: &'a S,
    /// The row.
    pub key: &'a RowKey,
    /// The refresh token.
    pub token: TokenHash,
    /// The attempt.
    pub id: AttemptId,
}

/// The tokens of an answer, and what is needed to make a row of them.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    /// The tokens.
    pub answer: TokenAnswer,
    /// The provider's settings, if it is configured.
    pub options: Option<&'a ProviderOptions>,
    /// The version of the row when the refresh token was taken.
    pub taken_at: Version,
    /// When the request was sent, or before that. `None`: when the refresh token was first taken of those attempts whose
    /// outcome isn't known.
    pub sent_at: Option<UnixTime>,
    /// Where they were obtained, if that is known.
    pub origin: Option<Origin>,
    /// How long the refresh token lives if the provider doesn't say.
    pub refresh_lifetime: Duration,
    /// Who is told if they are another user's.
    pub witness: &'a Witness,
}

impl Tokens<'_> {
    fn merged_into(&self, row: &Row, sent_at: UnixTime) -> Row {
        let assumed_life = self.options.and_then(|options| options.assume_expires_in);
        let mut merged = merge(row, &self.answer, sent_at, assumed_life);
        if self.answer.refresh_token.is_some() && self.origin.is_some() {
            merged.origin.clone_from(&self.origin);
        }
        merged
    }

    /// Returns how the tokens are another user's than the row, if they are.
    fn mismatch(&self, row: &Row) -> Option<Mismatch> {
        subject::check(row, &self.answer, self.options).err()
    }
}

/// What became of a result.
#[derive(Clone, Debug)]
pub(super) enum Settled {
    /// The row has the result, or a newer one.
    Row(StoredRow),
    /// The row is gone. Nobody has the tokens.
    Gone,
    /// The row holds another refresh token: somebody stored newer tokens.
    Beaten(StoredRow),
    /// The tokens are another user's. The row is marked for good, and nobody has them.
    AnotherUsers(Mismatch),
}

/// What is known about a token after something was written.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    /// The state of its entry.
    pub state: EntryState,
    /// The row, if there is one.
    pub row: Option<Decoded>,
}

impl Noted {
    /// Returns why the refresh token can't be used any more, if that is known.
    pub fn verdict(&self) -> Option<ReauthReason> {
        match self.state {
            EntryState::Refused { .. } => Some(ReauthReason::Refused),
            EntryState::InDoubt => Some(ReauthReason::InDoubt),
            EntryState::Free | EntryState::Open | EntryState::Redeemed(_) => None,
        }
    }
}

impl<S: Records> Attempt<'_, S> {
    /// Ends the attempt. It has redeemed nothing.
    pub async fn withdraw(&self) -> Noted {
        let rule = |record: &mut Record, seen: &Seen| {
            let lifted = withdraw(record, self.token, self.id);
            self.unmarked(lifted, seen)
        };
        self.note(rule).await
    }

    /// Ends the attempt. It has redeemed nothing, and nobody tries again for the time that `pause` returns for the number
    /// of failures.
    pub async fn passing(&self, pause: impl Fn(u32) -> Duration) -> Noted {
        let rule = |record: &mut Record, seen: &Seen| {
            let failures = record.entry(self.token).map_or(0, |entry| entry.failures);
            let not_before = seen.at.plus(pause(failures));
            let lifted = passing(record, self.token, self.id, not_before);
            self.unmarked(lifted, seen)
        };
        self.note(rule).await
    }

    /// Takes note that it isn't known whether the attempt has redeemed the token. If it may be sent again, and an attempt
    /// had failed before, that is not for the time that `pause` returns for the number of failures.
    pub async fn no_answer(&self, pause: impl Fn(u32) -> Duration) -> Noted {
        let rule = |record: &mut Record, seen: &Seen| {
            let failures = record.entry(self.token).map_or(0, |entry| entry.failures);
            no_answer(record, self.token, self.id, seen.at, pause(failures));
            None
        };
        self.note(rule).await
    }

    /// Takes note that the provider refused the token, and marks the row.
    pub async fn refused(&self) -> Noted {
        self.note(|record, seen| self.refuse(record, seen, false))
            .await
    }

    /// Makes the verdict, if there is one, and returns the row with its mark.
    fn refuse(&self, record: &mut Record, seen: &Seen, for_good: bool) -> Option<StoredRow> {
        let row = seen.stored().filter(|stored| self.is_held_by(&stored.row));
        let refusal = Refusal {
            attempt: self.id,
            is_held: row.is_some(),
            for_good,
            now: seen.at,
        };
        let reason = refused(record, self.token, refusal)?;
        Some(marked(row?, Some(reason)))
    }

    /// Writes the tokens that the attempt was answered with, until they are in the row or nobody needs them. Calls
    /// `unsaved` with the row as it would be whenever that fails, or with nothing if it wouldn't get them.
    ///
    /// `known` is the row as it was last read. It is used while the store can't be asked. A row that can't be read now may be
    /// another one, of another user even: it is the known one only if its version says so.
    pub async fn settle(
        &self,
        tokens: &Tokens<'_>,
        known: Option<&StoredRow>,
        unsaved: impl Fn(Option<StoredRow>),
    ) -> Settled {
        let version = Version::random();
        let mut pauses = Pauses::default();
        let would_be = |stored: &StoredRow, sent_at| StoredRow {
            row: tokens.merged_into(&stored.row, sent_at),
            version,
        };
        let successor = tokens.answer.refresh_token.as_ref();
        let answered = Answered {
            attempt: self.id,
            token: self.token,
            successor: successor.map_or(self.token, TokenHash::of),
            taken_at: tokens.taken_at,
            version,
        };
        let now = UnixTime::now();
        let mut latest = known
            .filter(|stored| tokens.mismatch(&stored.row).is_none())
            .map(|stored| would_be(stored, tokens.sent_at.unwrap_or(now)));
        loop {
            let looked = self.store.look(self.key).await;
            if let Ok(seen) = &looked
                && let Some(Err(unreadable)) = &seen.row
            {
                let shown = unreadable.shown().map(|shown| shown.version);
                let is_known = shown == Some(version)
                    || known.is_some_and(|known| shown == Some(known.version));
                latest = latest.filter(|_| is_known);
            } else if let Ok(seen) = looked {
                let (settled, written) =
                    self.settle_once(&seen, &answered, tokens, &would_be).await;
                match written {
                    Ok(true) => {
                        if let Settled::AnotherUsers(mismatch) = settled {
                            told::another_user(&self.key.provider, mismatch);
                            tokens.witness.another_user(self.key);
                        }
                        return settled;
                    }
                    Ok(false) if pauses.not_yet() => continue,
                    // What somebody else wrote since is never mixed with the answer.
                    Ok(false) | Err(_) => {
                        latest = match settled {
                            Settled::Row(stored) => Some(stored),
                            Settled::Gone | Settled::Beaten(_) | Settled::AnotherUsers(_) => None,
                        }
                    }
                }
            }
            unsaved(latest.clone());
            self.pause(&mut pauses).await;
        }
    }

    /// Returns what becomes of the result, and whether that is written: it isn't if the row or the record has changed
    /// meanwhile.
    async fn settle_once(
        &self,
        seen: &Seen,
        answered: &Answered,
        tokens: &Tokens<'_>,
        would_be: impl Fn(&StoredRow, UnixTime) -> StoredRow,
    ) -> (Settled, Result<bool, Error>) {
        let mut record = seen.record.clone();
        let stored = seen.stored();
        let held = stored.map(|stored| Held {
            token: stored.row.refresh_token.as_ref().map(TokenHash::of),
            version: stored.version,
        });
        let placing = place(&record, held, answered);
        let mut row = None;
        // What is written nowhere needn't be about the row's user.
        let mismatch = stored
            .filter(|_| matches!(placing, Placing::Write(_)))
            .and_then(|stored| tokens.mismatch(&stored.row));
        match placing {
            Placing::Write(_) if mismatch.is_some() => {
                row = self.refuse(&mut record, seen, true);
            }
            Placing::Write(_) => {
                let sent_at = tokens.sent_at.unwrap_or_else(|| self.taken_at(seen));
                written(&mut record, answered);
                row = stored.map(|stored| would_be(stored, sent_at));
            }
            Placing::Confirm => {}
            Placing::Withdraw => _ = withdraw(&mut record, self.token, self.id),
            Placing::Note | Placing::GiveUp => given_up(&mut record, self.token, self.id),
        }
        let settled = match (placing, row.as_ref().or(stored)) {
            (_, None) => Settled::Gone,
            _ if let Some(mismatch) = mismatch => Settled::AnotherUsers(mismatch),
            (Placing::GiveUp, Some(stored)) => Settled::Beaten(stored.clone()),
            (_, Some(stored)) => Settled::Row(stored.clone()),
        };
        let change = Change {
            record: &record,
            row: row.as_ref().map(|stored| RowChange {
                stored,
                keep_for: Some(keep_for(
                    &stored.row,
                    UnixTime::now(),
                    tokens.refresh_lifetime,
                )),
            }),
            ends: Some(self.id),
        };
        let written = self.store.change(self.key, seen, change).await;
        (settled, written)
    }

    /// Returns the row and its record, as soon as the store can be asked.
    pub async fn seen(&self) -> Seen {
        let mut pauses = Pauses::default();
        loop {
            match self.store.look(self.key).await {
                Ok(seen) => return seen,
                Err(_) => self.pause(&mut pauses).await,
            }
        }
    }

    /// Returns when the refresh token was first taken of those attempts whose outcome isn't known, or now.
    fn taken_at(&self, seen: &Seen) -> UnixTime {
        let entry = seen.record.entry(self.token);
        let taken = entry.and_then(|entry| entry.first_taken);
        let ago = taken.map_or(Duration::ZERO, |taken| seen.at.since(taken));
        // What is left of a second counts as one.
        let ago = i64::try_from(ago.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX);
        let now = UnixTime::now();
        UnixTime::from_seconds(now.seconds().saturating_sub(ago)).unwrap_or(now)
    }

    /// Renews the lease for as long as the attempt has the token. Never ends.
    pub async fn keep_lease(&self) -> ! {
        loop {
            sleep(RENEW_AFTER).await;
            match self.renew().await {
                Ok(Some(true)) => {}
                Ok(Some(false)) => pending().await,
                // Others wrote, or the store can't be asked. There is time for another try.
                Ok(None) | Err(_) => {
                    _ = self.renew().await;
                }
            }
        }
    }

    /// Renews the lease once. Returns whether the attempt has the token, or `None` if others wrote meanwhile.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn renew(&self) -> Result<Option<bool>, Error> {
        let seen = self.store.look(self.key).await?;
        let mut record = seen.record.clone();
        if !renew(&mut record, self.token, self.id, seen.at) {
            return Ok(Some(false));
        }
        let change = Change::new(&record, None);
        let is_written = self.store.change(self.key, &seen, change).await?;
        Ok(is_written.then_some(true))
    }

    /// Writes what `rule` makes of the record and the row, until it is written and on enough replicas. The rule does
    /// nothing if it was applied before.
    async fn note(&self, mut rule: impl FnMut(&mut Record, &Seen) -> Option<StoredRow>) -> Noted {
        let mut pauses = Pauses::default();
        loop {
            if let Ok(seen) = self.store.look(self.key).await {
                let mut record = seen.record.clone();
                let row = rule(&mut record, &seen);
                let change = Change::new(&record, row.as_ref()).ending(self.id);
                match self.store.change(self.key, &seen, change).await {
                    Ok(true) => {
                        return Noted {
                            state: record
                                .entry(self.token)
                                .map_or(EntryState::Free, |entry| entry.state),
                            row: row.map(Ok).or(seen.row),
                        };
                    }
                    Ok(false) if pauses.not_yet() => continue,
                    Ok(false) | Err(_) => {}
                }
            }
            self.pause(&mut pauses).await;
        }
    }

    /// Returns the row without its mark, if a verdict was `lifted` that rested on this attempt.
    fn unmarked(&self, lifted: bool, seen: &Seen) -> Option<StoredRow> {
        let stored = seen.stored().filter(|stored| self.is_held_by(&stored.row));
        stored.filter(|_| lifted).map(|stored| marked(stored, None))
    }

    /// Whether this row holds the refresh token.
    pub fn is_held_by(&self, row: &Row) -> bool {
        let token = row.refresh_token.as_ref();
        token.is_some_and(|token| TokenHash::of(token) == self.token)
    }

    async fn pause(&self, pauses: &mut Pauses) {
        if pauses.made == 1 {
            let provider = &self.key.provider;
            tracing::warn!(%provider, "what became of a refresh can't be stored yet");
        }
        pauses.next().await;
    }
}

/// The pauses between attempts to write something, each longer than the one before.
#[derive(Debug, Default)]
struct Pauses {
    /// How many there were.
    made: usize,
    /// How often none was needed, because another write had come first.
    left_out: usize,
}

impl Pauses {
    /// Whether the next attempt may follow at once, after a write that another one came before.
    fn not_yet(&mut self) -> bool {
        let not_yet = self.left_out < HASTE;
        self.left_out += usize::from(not_yet);
        not_yet
    }

    async fn next(&mut self) {
        let pause = PAUSES[self.made.min(PAUSES.len() - 1)];
        self.made += 1;
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

/// Returns the error for who can't write because others always came first.
pub(super) fn contended() -> Error {
    Error::unavailable("the record of a refresh changed before each attempt")
}

const _: () = assert!(RENEW_AFTER.as_millis() * 3 < LEASE.as_millis());

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::time::timeout;

    use super::*;
    use crate::{
        store::Stamp,
        types::{ProviderName, Secret, SessionId, StoreTime},
    };

    /// A store in which nothing is ever written.
    struct Stuck {
        /// How often it was asked.
        asked: AtomicUsize,
        /// Whether it can be looked at.
        is_readable: bool,
        /// What it says of a write: another one came first, or why it failed.
        says: Result<bool, Error>,
    }

    impl Records for Stuck {
        async fn look(&self, _: &RowKey) -> Result<Seen, Error> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            // A loop without pauses would never let the test's clock go on.
            assert!(asked < 10_000, "the loop spins");
            match self.is_readable {
                true => Ok(Seen {
                    row: None,
                    record: Record::default(),
                    in_grace: false,
                    at: StoreTime::from_millis(1),
                    lineage: None,
                    stamp: Stamp::default(),
                }),
                false => Err(Error::unavailable("away")),
            }
        }

        async fn change(&self, _: &RowKey, _: &Seen, _: Change<'_>) -> Result<bool, Error> {
            self.says.clone()
        }

        fn ended(&self, _: AttemptId) -> impl Future<Output = ()> + Send + 'static {
            pending()
        }
    }

    const SPAN: Duration = Duration::from_secs(20);

    /// Returns how often the store was asked in `SPAN`, by a loop that can't end.
    async fn asked(stuck: &Stuck, settles: bool, reads: bool) -> usize {
        let key = RowKey {
            session: SessionId::new("s").unwrap(),
            provider: ProviderName::new("p").unwrap(),
        };
        let secret = |text: &str| Secret::new(text.to_owned()).unwrap();
        let attempt = Attempt {
            store: stuck,
            key: &key,
            token: TokenHash::of(&secret("refresh")),
            id: AttemptId::random(),
        };
        let tokens = Tokens {
            answer: TokenAnswer {
                access_token: secret("access"),
                refresh_token: None,
                id_token: None,
                token_type: None,
                scopes: None,
                expires_in: None,
                refresh_expires_in: None,
            },
            options: None,
            taken_at: Version::random(),
            sent_at: None,
            origin: None,
            refresh_lifetime: SPAN,
            witness: &Witness::default(),
        };
        let ended = match (settles, reads) {
            (true, _) => timeout(SPAN, attempt.settle(&tokens, None, |_| ()))
                .await
                .is_ok(),
            (_, true) => timeout(SPAN, attempt.seen()).await.is_ok(),
            _ => timeout(SPAN, attempt.withdraw()).await.is_ok(),
        };
        assert!(!ended);
        stuck.asked.load(Ordering::Relaxed)
    }

    /// Whatever keeps a result from being written, each loop pauses, and longer each time.
    #[tokio::test(start_paused = true)]
    async fn who_cannot_write_pauses() {
        let longest = PAUSES[PAUSES.len() - 1];
        let each = SPAN.as_millis() / longest.as_millis();
        let each = usize::try_from(each).unwrap();
        for says in [Ok(false), Err(Error::unavailable("away"))] {
            for (settles, reads) in [(true, false), (false, false), (false, true)] {
                let stuck = Stuck {
                    asked: AtomicUsize::new(0),
                    is_readable: !reads,
                    says: says.clone(),
                };
                let asked = asked(&stuck, settles, reads).await;
                // A pause is between half of its length and all of it.
                let most = 2 * each + PAUSES.len() + HASTE;
                let what = format!("{says:?}, settles {settles}, reads {reads}: {asked}");
                assert!((each..=most).contains(&asked), "{what}");
            }
        }
    }
}
