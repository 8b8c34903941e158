//! One that redeems: a broker, or an auth server. Each step reads the store, decides by the rules, and writes, as one
//! atomic step.

use std::time::Duration;

use token_broker::{
    refresh::{
        provider::Rotation,
        rules::{
            Answered, Held, Placing, Policy, Refusal, Take, Taking, given_up, no_answer, passing,
            place, refused, renew, take, withdraw, written,
        },
    },
    types::{AttemptId, EntryState, Lineage, ReauthReason, Record, StoreTime, Version},
};

use crate::{
    Setup,
    provider::{Answer, Token},
    world::{Data, Now, RowData, UNIT, Unit, moment},
};

/// What is wrong with a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nobody takes a token before redeeming it.
    NoRecord,
    /// Nobody looks at the lease before sending.
    NoLook,
    /// A result is written only onto the version that was read.
    FencedByVersion,
    /// A record has only the token that was taken last.
    Forgets,
    /// A lease isn't renewed once there is an answer.
    NoRenewal,
    /// A result is given up before it is confirmed what beat it.
    GivesUpUnconfirmed,
    /// A holder's silence counts although another server has taken over meanwhile.
    NoLineage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// The answer to the taking was lost.
    Retaking,
    /// Waits for the replica.
    Taken,
    Ready,
    /// Has looked at its lease.
    Looked,
    Waiting,
    /// Has tokens, and writes them.
    Answered(Tokens),
    Refused,
    Withdrawing,
    Passing,
    NoAnswer,
    /// Waits for the replica, with the result in the row or given up.
    Confirming(Tokens),
    ConfirmingWithdrawal,
}

/// The refresh token of an answer, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tokens(pub(crate) Token);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Redeemer {
    pub(crate) phase: Phase,
    pub(crate) token: Token,
    pub(crate) taken_at: Version,
    pub(crate) attempt: AttemptId,
    /// When its lease ends, by its own clock.
    pub(crate) lease_ends: Unit,
    /// Whether the replica has what it wrote.
    pub(crate) is_confirmed: bool,
    /// Stands still: it doesn't renew its lease.
    pub(crate) is_stalled: bool,
}

impl Default for Redeemer {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            token: Token::FIRST,
            taken_at: Version::from_number(1).unwrap(),
            attempt: AttemptId::from_number(0),
            lease_ends: 0,
            is_confirmed: false,
            is_stalled: false,
        }
    }
}

/// A step at the store: what is written, and how it goes on.
pub(crate) struct StoreStep {
    pub(crate) data: Data,
    pub(crate) next: Redeemer,
    /// Where the redeemer is if it gets no answer.
    pub(crate) unanswered: Phase,
}

impl Redeemer {
    /// Whether it counts on its lease.
    pub(crate) fn renews(&self, broken: Option<Broken>) -> bool {
        match self.phase {
            Phase::Taken | Phase::Ready | Phase::Looked | Phase::Waiting => true,
            Phase::Answered(_) | Phase::Confirming(_) => broken != Some(Broken::NoRenewal),
            _ => false,
        }
    }

    pub(crate) fn renew(&mut self, record: &mut Record, now: Unit) {
        if renew(record, self.token.hash(), self.attempt, moment(now)) {
            self.lease_ends = now + 1;
        }
    }

    fn answered(&self, tokens: Tokens) -> Answered {
        let number = u64::try_from(self.attempt.number()).unwrap();
        Answered {
            attempt: self.attempt,
            token: self.token.hash(),
            successor: tokens.0.hash(),
            taken_at: self.taken_at,
            version: Version::from_number(100 + number).unwrap(),
        }
    }

    /// Begins an attempt with the token that the row holds.
    pub(crate) fn begin(
        &self,
        setup: &Setup,
        data: &Data,
        attempt: u8,
        now: Now,
    ) -> Option<StoreStep> {
        let row = data.row?;
        // The provider of this world issues no more tokens than these.
        if row.token.number >= 2 {
            return None;
        }
        let begun = Self {
            phase: Phase::Retaking,
            token: row.token,
            taken_at: row.version,
            attempt: AttemptId::from_number(attempt.into()),
            ..Self::default()
        };
        begun.take(setup, data, now)
    }

    fn take(&self, setup: &Setup, data: &Data, now: Now) -> Option<StoreStep> {
        let (mut data, mut next) = (data.clone(), self.clone());
        let row = data.row.filter(|row| row.version == self.taken_at);
        let token = self.token.hash();
        if setup.broken == Some(Broken::NoRecord) {
            next.phase = Phase::Ready;
            next.lease_ends = now.unit + 1;
            return Some(StoreStep {
                data,
                next,
                unanswered: Phase::Retaking,
            });
        }
        if setup.broken == Some(Broken::Forgets) {
            let last = data
                .record
                .entries()
                .iter()
                .filter(|entry| entry.token == token);
            data.record = Record::new(last.cloned().collect());
        }
        let outcome = match row {
            Some(_) => {
                let taking = Taking {
                    attempt: self.attempt,
                    policy: &policy(setup),
                    may_resend: true,
                    is_rejected: false,
                    now: moment(now.unit),
                    lineage: now.lineage(setup),
                };
                take(&mut data.record, token, &taking)
            }
            None => Take::Ended,
        };
        match outcome {
            Take::Taken => {
                next.phase = if setup.replicated {
                    Phase::Taken
                } else {
                    Phase::Ready
                };
                next.lease_ends = now.unit + 1;
                next.is_confirmed = false;
            }
            // The attempt never had the token.
            _ if data
                .record
                .entry(token)
                .is_none_or(|entry| entry.attempt(self.attempt).is_none())
                && self.is_new() =>
            {
                match outcome {
                    Take::Asked(_) => {}
                    Take::Verdict(reason) => {
                        let row = data.row.as_mut()?;
                        if row.mark.is_some() {
                            return None;
                        }
                        row.mark = Some(reason);
                    }
                    _ => return None,
                }
                next = Self::default();
            }
            _ => next.phase = Phase::Withdrawing,
        }
        Some(StoreStep {
            data,
            next,
            unanswered: Phase::Retaking,
        })
    }

    /// Whether this is the first try to take. A later one has to withdraw what may have arrived.
    fn is_new(&self) -> bool {
        !self.is_confirmed && self.phase == Phase::Retaking && self.lease_ends == 0
    }

    /// The next step at the store, if it is one.
    pub(crate) fn at_store(&self, setup: &Setup, data: &Data, now: Now) -> Option<StoreStep> {
        let (mut data, mut next) = (data.clone(), self.clone());
        let token = self.token.hash();
        match self.phase {
            Phase::Retaking => {
                let mut again = self.clone();
                // From here on, the first request may have had an effect.
                again.lease_ends = now.unit + 1;
                return again.take(setup, &data, now);
            }
            Phase::Answered(tokens) => return Some(self.put(setup, data, tokens)),
            Phase::Refused => {
                let held = data.row.filter(|row| row.token == self.token);
                let refusal = Refusal {
                    attempt: self.attempt,
                    is_held: held.is_some(),
                    for_good: false,
                    now: moment(now.unit),
                };
                let verdict = refused(&mut data.record, token, refusal);
                if let (Some(row), Some(reason)) = (data.row.as_mut(), verdict) {
                    row.mark = Some(reason);
                }
                next = Self::default();
            }
            Phase::Withdrawing | Phase::Passing => {
                let lifted = if self.phase == Phase::Passing {
                    passing(&mut data.record, token, self.attempt, moment(now.unit))
                } else {
                    withdraw(&mut data.record, token, self.attempt)
                };
                if let Some(row) = data
                    .row
                    .as_mut()
                    .filter(|row| lifted && row.token == self.token)
                {
                    row.mark = None;
                }
                next.phase = Phase::ConfirmingWithdrawal;
                next.is_confirmed = !setup.replicated;
            }
            Phase::NoAnswer => {
                no_answer(
                    &mut data.record,
                    token,
                    self.attempt,
                    moment(now.unit),
                    Duration::ZERO,
                );
                next = Self::default();
            }
            _ => return None,
        }
        Some(StoreStep {
            data,
            next,
            unanswered: self.phase,
        })
    }

    fn put(&self, setup: &Setup, mut data: Data, tokens: Tokens) -> StoreStep {
        let answered = self.answered(tokens);
        let held = data.row.map(|row| Held {
            token: Some(row.token.hash()),
            version: row.version,
        });
        let mut placing = place(&data.record, held, &answered);
        if setup.broken == Some(Broken::FencedByVersion)
            && matches!(placing, Placing::Write(version) if version != self.taken_at)
        {
            placing = Placing::GiveUp;
        }
        let mut next = Self {
            phase: Phase::Confirming(tokens),
            is_confirmed: !setup.replicated,
            ..self.clone()
        };
        match placing {
            Placing::Write(_) => {
                data.row = Some(RowData {
                    token: tokens.0,
                    version: answered.version,
                    mark: None,
                });
                if setup.broken != Some(Broken::NoRecord) {
                    written(&mut data.record, &answered);
                }
            }
            Placing::Confirm => {}
            Placing::Note | Placing::GiveUp => {
                if setup.broken != Some(Broken::NoRecord) {
                    given_up(&mut data.record, self.token.hash(), self.attempt);
                }
                if setup.broken == Some(Broken::GivesUpUnconfirmed) {
                    next = Self::default();
                }
            }
            Placing::Withdraw => next.phase = Phase::Withdrawing,
        }
        StoreStep {
            data,
            next,
            unanswered: self.phase,
        }
    }

    /// The phase after the provider's answer.
    pub(crate) fn hears(&mut self, answer: Answer) {
        self.phase = match answer {
            Answer::Tokens(token) => Phase::Answered(Tokens(token)),
            Answer::Refused => Phase::Refused,
            Answer::Passing => Phase::Passing,
        };
    }

    /// Another server has taken over, which may lack what this one wrote.
    pub(crate) fn begin_again(&mut self) {
        self.phase = match self.phase {
            Phase::Taken => Phase::Retaking,
            Phase::Confirming(tokens) => Phase::Answered(tokens),
            Phase::ConfirmingWithdrawal => Phase::Withdrawing,
            other => other,
        };
        self.is_confirmed = false;
    }
}

pub(crate) fn policy(setup: &Setup) -> Policy {
    Policy {
        rotation: setup.rotation,
        never_replay: false,
        request_timeout: UNIT,
        rejected_interval: UNIT,
    }
}

/// Whether an idle broker can still do something about this row: take its token, or give a verdict.
pub(crate) fn can_proceed(setup: &Setup, data: &Data, row: &RowData, mut now: StoreTime) -> bool {
    let mut record = data.record.clone();
    for _ in 0..5 {
        now = now.plus(20 * UNIT);
        let taking = Taking {
            attempt: AttemptId::from_number(99),
            policy: &policy(setup),
            may_resend: true,
            is_rejected: false,
            now,
            lineage: Some(Lineage::default()),
        };
        match take(&mut record, row.token.hash(), &taking) {
            Take::Taken => return true,
            Take::Verdict(_) => return true,
            Take::Wait(_) | Take::Asked(_) => {}
            Take::Ended | Take::Throttled => return false,
        }
    }
    false
}

pub(crate) fn verdict(record: &Record, token: Token) -> Option<ReauthReason> {
    match record.entry(token.hash())?.state {
        EntryState::Refused { .. } => Some(ReauthReason::Refused),
        EntryState::InDoubt | EntryState::Redeemed(_) => Some(ReauthReason::InDoubt),
        EntryState::Free | EntryState::Open => None,
    }
}

/// Whether redeeming a token twice is the provider's sign of theft.
pub(crate) fn rotates(rotation: Rotation) -> bool {
    rotation == Rotation::Strict
}
