//! What there is, what can happen, and what must never be.

use std::time::Duration;

use token_broker::{
    refresh::rules::LEASE,
    types::{EntryState, Lineage, ReauthReason, Record, StoreTime, Version},
};

use crate::{
    Setup,
    provider::{Answer, Provider, Token},
    redeemer::{self, Broken, Phase, Redeemer, StoreStep},
};

/// Time goes by so long at once: a lease, and the provider's timeout.
pub(crate) const UNIT: Duration = LEASE;
/// Time, in units.
pub(crate) type Unit = u8;
/// After that, no time goes by.
const END: Unit = 8;

pub(crate) fn moment(unit: Unit) -> StoreTime {
    StoreTime::default().plus(UNIT * (1 + u32::from(unit)))
}

/// When a step is done at the store, and in which data.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) unit: Unit,
    lineage: u8,
}

impl Now {
    pub(crate) fn lineage(self, setup: &Setup) -> Option<Lineage> {
        let known = setup.broken != Some(Broken::NoLineage);
        Some(Lineage::new(if known { self.lineage.into() } else { 0 }))
    }
}

/// What can go wrong, or happen from outside. Each time costs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A process dies.
    Crash,
    /// A process stands still, and its lease isn't renewed.
    Stall,
    /// The provider's answer is lost.
    NoAnswer,
    /// The provider answers that it surely did nothing.
    Passing,
    /// The provider can't be reached.
    NotSent,
    /// The provider refuses a good token.
    BadHour,
    /// The store's answer is lost.
    AnswerLost,
    /// So is its answer, and the request arrives later, or never.
    Late,
    /// The replica becomes the primary.
    Failover,
    /// A caller stores the first token again, which it read before.
    StoreAgain,
    /// The user logs in again.
    LogIn,
    /// A caller deletes the row.
    Delete,
    /// Other software writes the same tokens.
    Rewrite,
}

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// No token is redeemed twice, unless a process died, stood still or had no answer while it was sending.
    OneRedemption,
    /// No token is sent a third time.
    NoThirdSending,
    /// A row holds a token that the provider accepts, and no mark, unless a process died, stood still or had no answer, or the
    /// provider had a bad hour.
    NoLostSession,
    /// A mark has a verdict in the record.
    MarkHasVerdict,
    /// One broker alone can always refresh or mark.
    NeverStuck,
}

impl Claim {
    pub(crate) const ALL: [Self; 5] = [
        Self::OneRedemption,
        Self::NoThirdSending,
        Self::NoLostSession,
        Self::MarkHasVerdict,
        Self::NeverStuck,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneRedemption => "one redemption",
            Self::NoThirdSending => "no third sending",
            Self::NoLostSession => "no lost session",
            Self::MarkHasVerdict => "a mark has a verdict",
            Self::NeverStuck => "never stuck",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A redeemer goes on.
    Step(usize),
    /// It goes on, and the store's answer is lost.
    StepUnanswered(usize),
    /// The store's answer is lost, and the request is still on its way.
    StepLate(usize),
    LateArrives,
    LateIsLost,
    TimePasses,
    /// The provider gets the request of this redeemer's attempt.
    Provide(usize),
    Replicate,
    Fault(Fault, usize),
}

/// A row, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowData {
    pub(crate) token: Token,
    pub(crate) version: Version,
    pub(crate) mark: Option<ReauthReason>,
}

/// What a server of the store has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Data {
    pub(crate) row: Option<RowData>,
    pub(crate) record: Record,
}

/// A request to the provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    token: Token,
    /// Whose it is. None if nobody waits for the answer any more.
    of: Option<usize>,
    answer: Option<Answer>,
}

/// A request to the store that is still on its way. It has an effect if nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Late {
    seen: Data,
    data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    primary: Data,
    replica: Data,
    /// How often the replica took over.
    lineage: u8,
    clock: Unit,
    provider: Provider,
    redeemers: Vec<Redeemer>,
    requests: Vec<Request>,
    late: Option<Late>,
    faults: u8,
    attempts: u8,
    versions: u8,
    /// Something happened that explains a second redemption.
    is_twice_explained: bool,
    /// Something happened that explains a lost session.
    is_loss_explained: bool,
    /// The tokens that were sent, without those that the provider surely didn't redeem.
    sent: Vec<Token>,
    broken: Vec<&'static str>,
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let data = Data {
            row: Some(RowData {
                token: Token::FIRST,
                version: Version::from_number(1).unwrap(),
                mark: None,
            }),
            record: Record::default(),
        };
        Self {
            replica: data.clone(),
            primary: data,
            lineage: 0,
            clock: 0,
            provider: Provider::default(),
            redeemers: vec![Redeemer::default(); setup.redeemers],
            requests: Vec::new(),
            late: None,
            faults: setup.at_most,
            attempts: 0,
            versions: 1,
            is_twice_explained: false,
            is_loss_explained: false,
            sent: Vec::new(),
            broken: Vec::new(),
        }
    }

    pub(crate) fn events(&self, setup: &Setup, events: &mut Vec<Event>) {
        for i in 0..self.redeemers.len() {
            events.extend([Event::Step(i), Event::Provide(i)]);
            if self.faults > 0 {
                let possible = |fault| setup.faults.contains(&fault);
                if possible(Fault::AnswerLost) {
                    events.push(Event::StepUnanswered(i));
                }
                if possible(Fault::Late) {
                    events.push(Event::StepLate(i));
                }
                let faults = setup.faults.iter();
                events.extend(faults.map(|&fault| Event::Fault(fault, i)));
            }
        }
        events.extend([
            Event::TimePasses,
            Event::Replicate,
            Event::LateArrives,
            Event::LateIsLost,
        ]);
    }

    pub(crate) fn after(&self, setup: &Setup, event: Event) -> Option<Self> {
        let mut world = self.clone();
        match event {
            Event::Step(i) => {
                if let Some(step) = world.store_step(setup, i) {
                    world.primary = step.data;
                    world.redeemers[i] = step.next;
                } else {
                    world.own_step(setup, i)?;
                }
            }
            Event::StepUnanswered(i) => {
                let step = world.store_step(setup, i)?;
                world.primary = step.data.clone();
                world.unanswered(i, step);
            }
            Event::StepLate(i) => {
                let step = world.store_step(setup, i)?;
                if world.late.is_some() || step.data == world.primary {
                    return None;
                }
                let seen = world.primary.clone();
                world.late = Some(Late {
                    seen,
                    data: step.data.clone(),
                });
                world.unanswered(i, step);
            }
            Event::LateArrives => {
                let late = world.late.take()?;
                if late.seen == world.primary {
                    world.primary = late.data;
                }
            }
            Event::LateIsLost => drop(world.late.take()?),
            Event::TimePasses => world.pass(setup)?,
            Event::Provide(i) => world.provide(setup, i)?,
            Event::Replicate => {
                if !setup.replicated || world.is_replicated() {
                    return None;
                }
                world.replica = world.primary.clone();
                for redeemer in &mut world.redeemers {
                    redeemer.is_confirmed |= awaits_replica(redeemer.phase);
                }
            }
            Event::Fault(fault, i) => {
                world.faults -= 1;
                world.fault(fault, i)?;
            }
        }
        (world != *self).then_some(world)
    }

    fn is_replicated(&self) -> bool {
        let waits = |r: &Redeemer| awaits_replica(r.phase) && !r.is_confirmed;
        self.replica == self.primary && !self.redeemers.iter().any(waits)
    }

    /// What a redeemer does at the store next.
    fn store_step(&mut self, setup: &Setup, i: usize) -> Option<StoreStep> {
        let now = Now {
            unit: self.clock,
            lineage: self.lineage,
        };
        let redeemer = &mut self.redeemers[i];
        redeemer.is_stalled = false;
        if redeemer.phase != Phase::Idle {
            return redeemer.at_store(setup, &self.primary, now);
        }
        if self.attempts >= setup.attempts {
            return None;
        }
        // Those that do nothing are alike. So one of them begins.
        let idle = |redeemer: &Redeemer| redeemer.phase == Phase::Idle;
        if self.redeemers.iter().position(idle) != Some(i) {
            return None;
        }
        let redeemer = &mut self.redeemers[i];
        let step = redeemer.begin(setup, &self.primary, self.attempts + 1, now)?;
        if step.next.phase != Phase::Idle {
            self.attempts += 1;
        }
        Some(step)
    }

    fn unanswered(&mut self, i: usize, step: StoreStep) {
        self.faults -= 1;
        if step.next.phase == Phase::Idle && step.unanswered == Phase::Retaking {
            // It asked, or gave a verdict, and took nothing.
            return;
        }
        let attempt = &step.next;
        if self.redeemers[i].phase == Phase::Idle {
            self.redeemers[i] = Redeemer {
                phase: Phase::Retaking,
                is_confirmed: false,
                ..attempt.clone()
            };
        }
    }

    /// A step that needs no store.
    fn own_step(&mut self, setup: &Setup, i: usize) -> Option<()> {
        let redeemer = &mut self.redeemers[i];
        redeemer.is_stalled = false;
        match redeemer.phase {
            Phase::Taken if redeemer.is_confirmed => redeemer.phase = Phase::Ready,
            Phase::Ready => {
                let holds =
                    self.clock < redeemer.lease_ends || setup.broken == Some(Broken::NoLook);
                redeemer.phase = if holds {
                    Phase::Looked
                } else {
                    Phase::Withdrawing
                };
            }
            Phase::Looked => {
                redeemer.phase = Phase::Waiting;
                let token = redeemer.token;
                let before = self.sent.iter().filter(|&&other| other == token).count();
                if redeemer::rotates(setup.rotation) && before >= 2 {
                    self.broken.push(Claim::NoThirdSending.name());
                }
                self.sent.push(token);
                self.sent.sort();
                self.requests.push(Request {
                    token,
                    of: Some(i),
                    answer: None,
                });
            }
            Phase::Waiting => {
                let at = self
                    .requests
                    .iter()
                    .position(|r| r.of == Some(i) && r.answer.is_some())?;
                let answer = self.requests.remove(at).answer?;
                redeemer.hears(answer);
                if answer == Answer::Passing {
                    let token = redeemer.token;
                    let at = self.sent.iter().position(|&other| other == token)?;
                    self.sent.remove(at);
                }
            }
            Phase::Confirming(_) | Phase::ConfirmingWithdrawal if redeemer.is_confirmed => {
                *redeemer = Redeemer::default();
            }
            _ => return None,
        }
        Some(())
    }

    fn pass(&mut self, setup: &Setup) -> Option<()> {
        // Time matters only to a lease and to a grace.
        let is_open = |data: &Data| {
            data.record
                .entries()
                .iter()
                .any(|e| e.state == EntryState::Open)
        };
        if self.clock >= END || !is_open(&self.primary) && !is_open(&self.replica) {
            return None;
        }
        self.clock += 1;
        for redeemer in &mut self.redeemers {
            if redeemer.renews(setup.broken) && !redeemer.is_stalled {
                redeemer.renew(&mut self.primary.record, self.clock);
            }
        }
        Some(())
    }

    /// The provider gets a request.
    fn provide(&mut self, setup: &Setup, i: usize) -> Option<()> {
        let request = self
            .requests
            .get(i)
            .filter(|request| request.answer.is_none())?;
        let (token, of) = (request.token, request.of);
        let is_again = self.provider.times_redeemed(token) > 0;
        if is_again && redeemer::rotates(setup.rotation) && !self.is_twice_explained {
            self.broken.push(Claim::OneRedemption.name());
        }
        let answer = self.provider.redeem(token, setup.rotation, self.clock);
        if of.is_some() {
            self.requests[i].answer = Some(answer);
        } else {
            self.requests.remove(i);
        }
        Some(())
    }

    fn fault(&mut self, fault: Fault, i: usize) -> Option<()> {
        let redeemer = &mut self.redeemers[i];
        let may_have_sent = redeemer.phase >= Phase::Looked;
        match fault {
            Fault::Crash => {
                if redeemer.phase == Phase::Idle {
                    return None;
                }
                self.is_twice_explained |= may_have_sent;
                self.is_loss_explained = true;
                *redeemer = Redeemer::default();
                self.abandon(i);
            }
            Fault::Stall => {
                if redeemer.phase == Phase::Idle || redeemer.is_stalled {
                    return None;
                }
                redeemer.is_stalled = true;
                self.is_twice_explained |= may_have_sent;
                self.is_loss_explained |= may_have_sent;
            }
            Fault::NoAnswer => {
                if redeemer.phase != Phase::Waiting {
                    return None;
                }
                redeemer.phase = Phase::NoAnswer;
                self.is_twice_explained = true;
                self.is_loss_explained = true;
                self.abandon(i);
            }
            Fault::Passing | Fault::BadHour => {
                let waits = |r: &&mut Request| r.of == Some(i) && r.answer.is_none();
                let request = self.requests.iter_mut().find(waits)?;
                self.is_loss_explained |= fault == Fault::BadHour;
                request.answer = Some(match fault {
                    Fault::Passing => Answer::Passing,
                    _ => Answer::Refused,
                });
            }
            Fault::NotSent => {
                if redeemer.phase != Phase::Looked {
                    return None;
                }
                redeemer.phase = Phase::Withdrawing;
            }
            Fault::Failover => {
                if i != 0 || self.is_replicated() {
                    return None;
                }
                self.primary = self.replica.clone();
                self.lineage += 1;
                self.late = None;
                self.redeemers.iter_mut().for_each(Redeemer::begin_again);
            }
            // These are events of steps.
            Fault::AnswerLost | Fault::Late => return None,
            caller => return self.call(caller, i),
        }
        Some(())
    }

    /// A caller, or other software, writes.
    fn call(&mut self, fault: Fault, i: usize) -> Option<()> {
        if i != 0 {
            return None;
        }
        let row = self.primary.row;
        self.versions += 1;
        let version = Version::from_number(self.versions.into())?;
        let of = |token| {
            Some(RowData {
                token,
                version,
                mark: None,
            })
        };
        self.primary.row = match fault {
            Fault::StoreAgain => {
                let entry = self.primary.record.entry(Token::FIRST.hash());
                if entry.is_some_and(|entry| matches!(entry.state, EntryState::Redeemed(_))) {
                    return None;
                }
                of(Token::FIRST)
            }
            Fault::LogIn => {
                if self.provider.times_redeemed(Token::OTHER_LOGIN) > 0 || row?.token.login == 1 {
                    return None;
                }
                of(Token::OTHER_LOGIN)
            }
            Fault::Delete => {
                row?;
                None
            }
            Fault::Rewrite => of(row?.token),
            _ => return None,
        };
        Some(())
    }

    /// Nobody waits for the answer any more.
    fn abandon(&mut self, i: usize) {
        self.requests
            .retain(|request| request.of != Some(i) || request.answer.is_none());
        for request in &mut self.requests {
            if request.of == Some(i) {
                request.of = None;
            }
        }
    }

    pub(crate) fn holds(&self, setup: &Setup, claim: Claim) -> bool {
        if self.broken.contains(&claim.name()) {
            return false;
        }
        let idle = |redeemer: &Redeemer| redeemer.phase == Phase::Idle;
        let is_quiet =
            self.redeemers.iter().all(idle) && self.requests.is_empty() && self.late.is_none();
        let Some(row) = self.primary.row.filter(|_| is_quiet) else {
            return true;
        };
        let verdict = redeemer::verdict(&self.primary.record, row.token);
        match claim {
            Claim::NoLostSession => {
                self.is_loss_explained
                    || self.provider.accepts(row.token, setup.rotation, self.clock)
                        && row.mark.is_none()
                        && verdict.is_none()
            }
            Claim::MarkHasVerdict => row.mark.is_none() || verdict.is_some(),
            Claim::NeverStuck => {
                redeemer::can_proceed(setup, &self.primary, &row, moment(self.clock))
            }
            Claim::OneRedemption | Claim::NoThirdSending => true,
        }
    }
}

fn awaits_replica(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Taken | Phase::Confirming(_) | Phase::ConfirmingWithdrawal
    )
}
