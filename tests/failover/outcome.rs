//! The outcome of a round: the checked histories of its rows, and how the brokers coped with the outage.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    history::{Fit, History, Losses, Misfit, Read, Switch, Write, check, is_done_twice, losses},
    load::{Answer, Call, Calls},
    rows::RowName,
};

/// How long after a switch a read may still be answered by the demoted primary, as documented.
pub(crate) const BOUND: Duration = Duration::from_secs(2);
/// How much longer than its deadline a call may take on a busy machine. A broker that knows no deadline takes longer.
const SLACK: Duration = Duration::from_secs(4);

/// The figures of one or several rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rounds: usize,
    pub(crate) calls: usize,
    /// The number of acknowledged writes.
    pub(crate) acknowledged: usize,
    /// The number of writes without an answer.
    pub(crate) unknown: usize,
    pub(crate) failed_reads: usize,
    pub(crate) losses: Losses,
    /// The number of rows in which a write took effect again after another one, or a refresh token came back.
    pub(crate) twice: usize,
    pub(crate) reads: Fit,
    /// The histories that no course explains.
    pub(crate) misfits: Vec<String>,
    /// The calls that took longer than their deadline.
    pub(crate) overdue: Vec<String>,
    /// The reasons of failed calls, with their counts.
    pub(crate) failures: BTreeMap<String, usize>,
    pub(crate) longest_call: Duration,
    /// The time from the switch to the first answer after it, for each broker.
    pub(crate) read_outages: Vec<Duration>,
    pub(crate) write_outages: Vec<Duration>,
    /// The time from the fault to the sentinels' switch.
    pub(crate) detections: Vec<Duration>,
}

/// When a round's primary failed, and when the sentinels reported a new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switched {
    pub(crate) begun: Instant,
    pub(crate) seen: Instant,
}

impl Outcome {
    /// Evaluates all calls of a round, and the reads that were made once everything had settled. `reached` is the
    /// number of brokers, counted from the first, that could reach the new primary at once.
    pub(crate) fn of(calls: &Calls, last: &[Call], switches: &[Switched], reached: usize) -> Self {
        let mut outcome = Self {
            rounds: 1,
            ..Self::default()
        };
        for call in &calls.calls {
            outcome.count(call);
        }
        for call in last {
            outcome.count(call);
        }
        for switch in switches {
            outcome.detections.push(switch.seen - switch.begun);
            outcome.measure(&calls.calls, switch.seen, reached);
        }
        for history in histories(calls, last, switches) {
            outcome.judge(&history);
        }
        outcome
    }

    fn count(&mut self, call: &Call) {
        self.calls += 1;
        match (&call.answer, call.is_write()) {
            (Answer::Done, true) => self.acknowledged += 1,
            (Answer::Unknown(_), true) => self.unknown += 1,
            (Answer::Done, false) | (Answer::Refused(_), true) => {}
            (_, false) => self.failed_reads += 1,
        }
        if let Answer::Unknown(how) | Answer::Refused(how) = &call.answer {
            *self
                .failures
                .entry(format!("{} {how}", call.name))
                .or_default() += 1;
        }
        self.longest_call = self.longest_call.max(call.took());
        if call.took() > call.deadline + SLACK {
            self.overdue
                .push(format!("{} took {:?}", call.name, call.took()));
        }
    }

    /// Measures how long each broker took to answer a read again, and a write.
    fn measure(&mut self, calls: &[Call], seen: Instant, brokers: usize) {
        for broker in 0..brokers {
            let first = |writes: bool| {
                let done = calls.iter().filter(|call| {
                    call.broker == broker
                        && call.is_write() == writes
                        && call.is_done()
                        && call.returned >= seen
                });
                done.map(|call| call.returned - seen).min()
            };
            self.read_outages.extend(first(false));
            self.write_outages.extend(first(true));
        }
    }

    fn judge(&mut self, history: &History) {
        let losses = losses(history);
        self.losses.add(losses);
        self.twice += usize::from(is_done_twice(history, BOUND));
        match check(history, BOUND) {
            Ok(fit) => self.reads.add(fit),
            Err(Misfit(why)) => self.misfits.push(why),
        }
    }

    /// Returns the sum of both.
    pub(crate) fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.calls += other.calls;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.failed_reads += other.failed_reads;
        self.losses.add(other.losses);
        self.twice += other.twice;
        self.reads.add(other.reads);
        self.misfits.extend(other.misfits);
        self.overdue.extend(other.overdue);
        for (how, often) in other.failures {
            *self.failures.entry(how).or_default() += often;
        }
        self.longest_call = self.longest_call.max(other.longest_call);
        self.read_outages.extend(other.read_outages);
        self.write_outages.extend(other.write_outages);
        self.detections.extend(other.detections);
    }
}

/// Returns the history of each row, with times since the start of the round.
fn histories<'a>(
    calls: &'a Calls,
    last: &'a [Call],
    switches: &'a [Switched],
) -> impl Iterator<Item = History> + 'a {
    let start = calls.calls.iter().map(|call| call.called);
    let start = start
        .chain(switches.iter().map(|switch| switch.begun))
        .min();
    let since = move |at: Instant| at - start.unwrap_or(at);
    let mut histories: BTreeMap<RowName, History> = BTreeMap::new();
    for row in calls.rows() {
        let switches = switches.iter().map(|switch| Switch {
            begun: since(switch.begun),
            seen: since(switch.seen),
        });
        let history = History {
            row: calls.round().name(row),
            switches: switches.collect(),
            ..History::default()
        };
        histories.insert(row, history);
    }
    for (call, is_last) in with(&calls.calls, false).chain(with(last, true)) {
        let (called, returned) = (since(call.called), since(call.returned));
        let note = format!("{} through {}: {:?}", call.name, call.broker, call.answer);
        for (row, value) in &call.writes {
            if !matches!(call.answer, Answer::Refused(_)) {
                let history = histories.get_mut(row).unwrap();
                history.writes.push(Write {
                    value: *value,
                    called,
                    returned,
                    acknowledged: call.is_done(),
                    note: note.clone(),
                });
            }
        }
        for (row, shown) in &call.reads {
            // Before the first write there is nothing to read. Otherwise the row would be another round's.
            let Some(history) = histories.get_mut(row) else {
                assert_eq!(shown.value, None, "{row:?} was never written");
                continue;
            };
            let read = Read {
                value: shown.value,
                refresh: shown.refresh,
                called,
                returned,
                note: note.clone(),
            };
            if is_last {
                history.last.push(read);
            } else {
                history.reads.push(read);
            }
        }
    }
    histories.into_values()
}

fn with(calls: &[Call], is_last: bool) -> impl Iterator<Item = (&Call, bool)> {
    calls.iter().map(move |call| (call, is_last))
}
