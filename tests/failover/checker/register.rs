//! A simulated row on a primary with a replica, and callers who use it through two brokers. The simulation advances
//! in ticks and repeats from a seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::history::{History, Read, Switch, Value, Write};

/// How long after a switch a broker may still use the old primary, in ticks.
const BOUND: u64 = 60;
/// The same bound, as the checker takes it.
pub(super) const STALE: Duration = Duration::from_millis(BOUND);
const DEADLINE: Duration = Duration::from_millis(25);
const ROUND: u64 = 1_200;

/// The fault of the simulated row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Writes are acknowledged before the replica has them.
    Unreplicated,
    /// A broker uses the old primary much longer than the bound.
    Clinging,
    /// Some deletes are acknowledged but not done.
    Missing,
    /// Some deleted rows come back as they were.
    Resurrecting,
}

/// The log of a primary: the value after each write. The first value is the one before any write.
type Log = Vec<Value>;

/// A write that was called and hasn't been done or given up yet.
struct Underway {
    write: usize,
    broker: usize,
    /// When the write reaches its primary. `None` once it has.
    arrives: Option<u64>,
    /// The index of the write in the log of the epoch in which it was done.
    done: Option<(usize, usize)>,
    /// Whether the caller still waits for the answer.
    awaited: bool,
}

/// The state of the simulation.
pub(super) struct Simulation {
    dice: StdRng,
    fault: Fault,
    now: u64,
    /// One log per primary, newest last.
    logs: Vec<Log>,
    /// How much of the newest log the replica has.
    replicated: usize,
    /// Which log each broker uses.
    brokers: [usize; 2],
    /// When the replica takes over. `None` if no failover is under way.
    cut: Option<u64>,
    /// When each broker learns of the newest primary.
    learns: [u64; 2],
    underway: Vec<Underway>,
    history: History,
}

impl Simulation {
    /// Returns what callers see in a round with a few failovers.
    pub(super) fn run(seed: u64, fault: Fault) -> History {
        let mut simulation = Self {
            dice: StdRng::seed_from_u64(seed),
            fault,
            now: 0,
            logs: vec![vec![None]],
            replicated: 1,
            brokers: [0, 0],
            cut: None,
            learns: [0, 0],
            underway: Vec::new(),
            history: History::default(),
        };
        let mut reads: Vec<Option<(Read, u64, u64, usize)>> = (0..4).map(|_| None).collect();
        while simulation.now < ROUND {
            simulation.now += 1;
            simulation.fail_over();
            simulation.resurrect();
            simulation.replicate();
            simulation.write();
            for slot in &mut reads {
                simulation.read(slot);
            }
        }
        // Everything has settled: there is one primary, and one answer.
        simulation.now += 1_000;
        let value = *simulation.log(simulation.logs.len() - 1).last().unwrap();
        let last = simulation.read_at(value, simulation.now, simulation.now + 1, "settled");
        simulation.history.last.push(last);
        simulation.history
    }

    fn log(&self, epoch: usize) -> &Log {
        &self.logs[epoch]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.dice.random_range(0..100) < percent
    }

    fn read_at(&self, value: Value, called: u64, returned: u64, note: &str) -> Read {
        Read {
            value,
            refresh: None,
            called: Duration::from_millis(called),
            returned: Duration::from_millis(returned),
            note: note.to_owned(),
        }
    }

    /// Cuts the replica off at random times. After a while the replica takes over, and the brokers learn of it one
    /// by one.
    fn fail_over(&mut self) {
        let settled = self.learns.iter().all(|learns| self.now > learns + BOUND);
        let quiet = self.cut.is_none() && self.now > 100 && self.now < ROUND - 200;
        if quiet && settled && self.chance(2) {
            self.cut = Some(self.now + self.dice.random_range(20..80));
            self.history.switches.push(Switch {
                begun: Duration::from_millis(self.now),
                seen: Duration::MAX,
            });
        }
        if self.cut == Some(self.now) {
            self.cut = None;
            let newest = self.logs.last().unwrap()[..self.replicated].to_vec();
            self.logs.push(newest);
            self.history.switches.last_mut().unwrap().seen = Duration::from_millis(self.now);
            let clings = if self.fault == Fault::Clinging { 3 } else { 1 };
            self.learns = [0, 1].map(|_| self.now + clings * self.dice.random_range(0..BOUND));
        }
        for broker in 0..2 {
            if self.learns[broker] == self.now {
                self.brokers[broker] = self.logs.len() - 1;
            }
        }
    }

    /// Lets the replica catch up, unless it is cut off. Acknowledges the writes that it has.
    fn replicate(&mut self) {
        let length = self.logs.last().unwrap().len();
        if self.cut.is_none() && self.replicated < length && self.chance(60) {
            self.replicated += self.dice.random_range(1..=length - self.replicated);
        }
        let (newest, replicated) = (self.logs.len() - 1, self.replicated);
        let eager = self.fault == Fault::Unreplicated;
        let now = self.now;
        let writes = &mut self.history.writes;
        self.underway.retain_mut(|underway| {
            let confirmed = underway
                .done
                .is_some_and(|(epoch, at)| eager || epoch == newest && at < replicated);
            let write = &mut writes[underway.write];
            let late = write.called + DEADLINE <= Duration::from_millis(now);
            if underway.awaited && (confirmed || late) {
                write.acknowledged = confirmed;
                write.returned = Duration::from_millis(now);
                underway.awaited = false;
            }
            underway.awaited || underway.arrives.is_some()
        });
    }

    /// Restores a deleted row.
    fn resurrect(&mut self) {
        if self.fault == Fault::Resurrecting && self.chance(5) {
            let log = self.logs.last_mut().unwrap();
            if let [.., before @ Some(_), None] = log[..] {
                log.push(before);
            }
        }
    }

    /// Advances the single writer. It makes one write after another, and each write is done when it arrives at its
    /// broker's primary.
    fn write(&mut self) {
        if !self.underway.iter().any(|underway| underway.awaited) && self.chance(30) {
            let write = self.history.writes.len();
            let value = (!self.chance(30)).then_some(write as u64);
            let slow = if self.chance(8) { 200 } else { 6 };
            self.underway.push(Underway {
                write,
                broker: self.dice.random_range(0..2),
                arrives: Some(self.now + self.dice.random_range(0..slow)),
                done: None,
                awaited: true,
            });
            self.history.writes.push(Write {
                value,
                called: Duration::from_millis(self.now),
                returned: Duration::MAX,
                acknowledged: false,
                note: String::new(),
            });
        }
        for at in 0..self.underway.len() {
            if self.underway[at].arrives == Some(self.now) {
                let (write, broker) = (self.underway[at].write, self.underway[at].broker);
                let epoch = self.brokers[broker];
                let mut value = self.history.writes[write].value;
                if self.fault == Fault::Missing && value.is_none() && self.chance(50) {
                    value = *self.logs[epoch].last().unwrap();
                }
                self.logs[epoch].push(value);
                self.underway[at].arrives = None;
                self.underway[at].done = Some((epoch, self.logs[epoch].len() - 1));
            }
        }
    }

    /// Advances one of the readers: it calls, sees the row at one instant, and returns.
    fn read(&mut self, slot: &mut Option<(Read, u64, u64, usize)>) {
        let now = self.now;
        match slot {
            None => {
                let looks = now + self.dice.random_range(1..8);
                let returns = looks + self.dice.random_range(0..8);
                let read = self.read_at(None, now, returns, "");
                *slot = Some((read, looks, returns, self.dice.random_range(0..2)));
            }
            Some((read, looks, returns, broker)) => {
                if *looks == now {
                    read.value = *self.logs[self.brokers[*broker]].last().unwrap();
                }
                if *returns <= now && *looks < now {
                    read.returned = Duration::from_millis(now);
                    self.history.reads.push(read.clone());
                    *slot = None;
                }
            }
        }
    }
}
