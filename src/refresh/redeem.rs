//! One refresh of a row: from the first look at its record to the last write.

use std::{future::pending, pin::pin, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Shared,
    attempt::{Attempt, contended},
    clock::Moment,
    configured::Configured,
    decide::{Decision, Token, Wait, Wish, decide},
    flights::{End, Progress, Slot},
    permit::{Permit, Stopped},
    provider::{PrepareError, Rotation},
    rules::{LEASE, Policy},
    told,
};
use crate::{
    error::{Error, ProviderFailure},
    store::{self, Change, Records, Seen},
    traces::{self, Attribute, Kind},
    types::{AttemptId, ReauthReason, Record, RowKey, StoredRow, TokenHash, Version},
};

/// A part of a lease has to be left when the refresh token is sent.
pub(super) const LEFT: Duration = Duration::from_secs(1);
/// How often the record is read while another broker redeems, in case that its announcement is lost.
const POLL: Duration = Duration::from_millis(500);
/// How often a taking is tried.
const TAKINGS: usize = 8;

/// A refresh of a row.
pub(super) struct Refresh<'a, S> {
    pub shared: &'a Shared<S>,
    pub configured: &'a Configured,
    pub key: &'a RowKey,
    /// The version of the row that the caller knows.
    pub version: Version,
    /// Whether a resource server refused the access token.
    pub is_rejected: bool,
    /// Until then the refresh goes on even if nobody waits for it.
    pub lingers_until: Instant,
    pub slot: Slot<'a>,
}

/// What follows a step.
pub(super) enum Next {
    /// It ends.
    End(End),
    /// The next step follows at once.
    Again,
    /// The next step follows later.
    Later(Wait, Option<Error>),
}

/// How a wait ended.
enum Waited {
    /// It is over.
    Over,
    /// The end of the attempt was announced.
    Announced,
    /// Nobody waits for the refresh any more, and it was left.
    Left,
}

/// What is taken, and has to be given back unless it is used.
pub(super) struct Taken {
    pub token: Token,
    pub attempt: AttemptId,
    pub began: Moment,
}

impl<'a, S: Records> Refresh<'a, S> {
    /// Runs the refresh to its end.
    pub async fn run(mut self) {
        let mut announcement = None;
        let mut retried_credentials = false;
        loop {
            let next = if self.shared.is_stopping() {
                Next::End(End::Failed(stopping()))
            } else {
                self.step(&mut retried_credentials).await
            };
            let (wait, error) = match next {
                Next::End(end) => {
                    traces::note(Attribute::Outcome(end.name()));
                    if matches!(end, End::Failed(_)) {
                        traces::fail();
                    }
                    return self.slot.end(end);
                }
                Next::Again => continue,
                Next::Later(wait, error) => (wait, error),
            };
            self.slot.tell(match error {
                Some(error) => Progress::BackedOff(Instant::now() + wait.span, error),
                None => Progress::Running,
            });
            let awaited = announcement.as_ref().map(|(attempt, _)| *attempt);
            if let Some(running) = wait.running
                && awaited != wait.running
            {
                // Who listened before it looked can't miss the end.
                let ended = Box::pin(self.shared.store.ended(running));
                announcement = Some((running, ended));
                continue;
            }
            let ended = async {
                match &mut announcement {
                    Some((attempt, ended)) if wait.running == Some(*attempt) => ended.await,
                    _ => pending().await,
                }
            };
            match self.wait(wait, ended).await {
                Waited::Left => return,
                Waited::Announced => announcement = None,
                Waited::Over => {}
            }
        }
    }

    async fn wait(&self, wait: Wait, ended: impl Future<Output = ()>) -> Waited {
        let span = wait.running.map_or(wait.span, |_| wait.span.min(POLL));
        let lonely = async {
            sleep_until(self.lingers_until).await;
            self.slot.until_lonely().await;
        };
        tokio::select! {
            () = ended => Waited::Announced,
            () = sleep(span) => Waited::Over,
            () = self.configured.works_again() => Waited::Over,
            () = self.shared.stopped() => Waited::Over,
            () = self.slot.until_outdated() => Waited::Over,
            () = lonely => if self.slot.leave() { Waited::Left } else { Waited::Over },
        }
    }

    async fn step(&mut self, retried_credentials: &mut bool) -> Next {
        let policy = self.configured.policy();
        // Nothing is prepared for a token that somebody else has.
        let seen = match self.shared.store.look(self.key).await {
            Ok(seen) => seen,
            Err(error) => return Next::End(End::Failed(error.into())),
        };
        let is_resent = match self.decide(&seen, AttemptId::random(), &policy) {
            // One of them is its own.
            Decision::Take(record, token) => record
                .entry(token.hash)
                .is_some_and(|entry| entry.unresolved() > 1),
            other => return self.act(&seen, other).await,
        };
        match self.admitted(is_resent).await {
            Ok(permit) => {
                self.with_permit(permit, &seen, &policy, retried_credentials)
                    .await
            }
            Err(next) => next,
        }
    }

    /// Takes and redeems the token, when a request may be made. Whoever writes what came of it, or gives a token back, gives
    /// the permit up before: that may take as long as the store is away.
    async fn with_permit(
        &mut self,
        permit: Permit<'a>,
        seen: &Seen,
        policy: &Policy,
        retried_credentials: &mut bool,
    ) -> Next {
        let prepared = {
            let span = traces::child("prepare", Kind::Internal);
            let preparing = pin!(self.configured.provider.prepare());
            let prepared = traces::during(span.as_ref(), preparing).await;
            if let (Some(span), Err(_)) = (&span, &prepared) {
                span.fail();
            }
            prepared
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.not_prepared(permit, seen, error).await,
        };
        if self.shared.is_stopping() {
            return Next::End(End::Failed(stopping()));
        }
        let (taken, permit) = match self.take(permit, policy).await {
            Ok(taken) => taken,
            Err(next) => return next,
        };
        self.is_rejected = false;
        self.redeem(permit, taken, prepared, retried_credentials)
            .await
    }

    fn decide(&self, seen: &Seen, attempt: AttemptId, policy: &Policy) -> Decision {
        if seen.in_grace && !self.shared.options.in_grace && policy.rotation != Rotation::None {
            let why =
                "other software may still redeem this tenant's refresh tokens (refresh-in-grace)";
            return Decision::Impossible(Error::NotRefreshable(why));
        }
        let wish = Wish {
            version: self.version,
            attempt,
            policy,
            // Only a refresh that the breaker lets through gets so far that it sends.
            may_resend: true,
            is_rejected: self.is_rejected,
        };
        decide(seen, &wish)
    }

    /// Does what a decision says that isn't to take the token.
    async fn act(&self, seen: &Seen, decision: Decision) -> Next {
        let end = match decision {
            Decision::Take(..) | Decision::Ended => return Next::Again,
            Decision::Wait(record, wait) => {
                if let Some(record) = record
                    && let Err(error) = self.write(seen, &record, None).await
                {
                    return Next::End(End::Failed(error.into()));
                }
                let error = wait
                    .running
                    .is_none()
                    .then(|| self.configured.failure_of(self.key, wait.span));
                return Next::Later(wait, error);
            }
            Decision::Verdict(change, reason) => {
                if let Some((record, row)) = change {
                    match self.write(seen, &record, Some(&row)).await {
                        Ok(true) if reason == ReauthReason::InDoubt => {
                            self.configured.counts.in_doubt.up();
                            told::in_doubt(&self.key.provider, told::found(&record, &row));
                        }
                        Ok(true) => {}
                        Ok(false) => return Next::Again,
                        Err(error) => return Next::End(End::Failed(error.into())),
                    }
                }
                End::Failed(Error::ReauthRequired(reason))
            }
            Decision::Fresher(stored) => End::Fresher(stored.into()),
            Decision::Throttled => End::Throttled,
            Decision::Impossible(error) => End::Failed(error),
        };
        Next::End(end)
    }

    async fn write(
        &self,
        seen: &Seen,
        record: &Record,
        row: Option<&StoredRow>,
    ) -> Result<bool, store::Error> {
        let change = Change::new(record, row);
        self.shared.store.change(self.key, seen, change).await
    }

    /// Waits until a request may be made. `is_resent` says whether its token may have been redeemed.
    async fn admitted(&self, is_resent: bool) -> Result<Permit<'a>, Next> {
        // Who can't make one needn't wait for others, nor use up the rate.
        if let Some(span) = self.configured.stopped() {
            return Err(self.stopped(Stopped::Calls(span)));
        }
        let queued = traces::child("provider_gate", Kind::Internal);
        let place = tokio::select! {
            place = self.configured.gate.enter() => place,
            () = self.shared.stopped() => return Err(Next::Again),
        };
        drop(queued);
        let permit = self.configured.admit(place, is_resent);
        permit.map_err(|stopped| self.stopped(stopped))
    }

    fn stopped(&self, stopped: Stopped) -> Next {
        let (span, failure) = match stopped {
            Stopped::Calls(span) => (span, self.configured.failure(span)),
            Stopped::Resending(span) => (span, self.configured.failure_of(self.key, span)),
        };
        let running = None;
        Next::Later(Wait { span, running }, Some(failure))
    }

    async fn not_prepared(&self, permit: Permit<'a>, seen: &Seen, error: PrepareError) -> Next {
        let error = match error {
            PrepareError::Misconfigured(what) => {
                Error::ProviderMisconfigured(ProviderFailure(what))
            }
            PrepareError::Unreachable(why) => Error::provider_unavailable(why.to_string()),
        };
        self.configured.not_prepared(permit, self.key, &error);
        let token = seen
            .stored()
            .and_then(|stored| stored.row.refresh_token.as_ref());
        let Some(token) = token else {
            return Next::Again;
        };
        let attempt = self.attempt(TokenHash::of(token), AttemptId::random());
        self.back_off(&attempt, None, error).await
    }

    /// Takes the token.
    async fn take(&self, permit: Permit<'a>, policy: &Policy) -> Result<(Taken, Permit<'a>), Next> {
        let id = AttemptId::random();
        let (mut maybe_taken, mut failure) = (None, None);
        for _ in 0..TAKINGS {
            let began = Moment::now();
            let seen = match self.shared.store.look(self.key).await {
                Ok(seen) => seen,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            let (record, token) = match self.decide(&seen, id, policy) {
                Decision::Take(record, token) => (record, token),
                other => {
                    drop(permit);
                    self.give_back(maybe_taken, id).await;
                    return Err(self.act(&seen, other).await);
                }
            };
            match self.write(&seen, &record, None).await {
                Ok(true) if began.elapsed() + LEFT < LEASE => {
                    let taken = Taken {
                        token,
                        attempt: id,
                        began,
                    };
                    return Ok((taken, permit));
                }
                // Too late. It is taken again under its id, which begins the lease anew.
                Ok(true) => maybe_taken = Some(token.hash),
                Ok(false) => {}
                Err(store::Error::Unknown(_)) => maybe_taken = Some(token.hash),
                Err(error) => {
                    if matches!(error, store::Error::NotDurable(_)) {
                        maybe_taken = Some(token.hash);
                    }
                    failure = Some(error);
                    break;
                }
            }
        }
        drop(permit);
        let failure: Error = match failure.unwrap_or_else(contended) {
            // The caller asked for a token, and wrote nothing.
            store::Error::Unknown(detail) => store::Error::Unavailable(detail).into(),
            other => other.into(),
        };
        // Who waits needn't wait until the store works again.
        self.slot
            .tell(Progress::Ended(End::Failed(failure.clone())));
        self.give_back(maybe_taken, id).await;
        Err(Next::End(End::Failed(failure)))
    }

    /// Gives a token back that may have been taken.
    async fn give_back(&self, maybe_taken: Option<TokenHash>, id: AttemptId) {
        if let Some(token) = maybe_taken {
            self.attempt(token, id).withdraw().await;
        }
    }

    pub(super) fn attempt(&self, token: TokenHash, id: AttemptId) -> Attempt<'a, S> {
        Attempt {
            store: &*self.shared.store,
            key: self.key,
            token,
            id,
        }
    }
}

fn stopping() -> Error {
    Error::provider_unavailable("the broker is stopping")
}
