//! The search. It follows all courses that fit what has been seen so far, event by event.
//!
//! A write takes effect no earlier than needed: when a read returns whose value hasn't been met, or when an
//! acknowledged write returns. A switch takes place when it ends, at the latest. Nothing is lost by waiting,
//! because writes and switches stay possible until their time is up. Steps before the needed one are tried only if
//! they can matter: a value that another pending read still needs, an acknowledged write, or the switch. This keeps
//! the set of courses small (Lowe's "just-in-time linearization", 2017). If each course remembered which writes
//! without an answer have been done, the set would grow with all their subsets. Therefore a separate check ensures
//! that no write was done twice ([`twice`]).

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    time::Duration,
};

use super::{
    Fit, History, Misfit, Read, Write, carried,
    course::{Course, Price},
    explain, twice,
};

/// An event at an instant. Of events at the same time, the one that is first in this list comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    SwitchBegins,
    WriteCalled(usize),
    ReadCalled(usize),
    ReadReturned(usize),
    WriteAcknowledged(usize),
    SwitchSeen,
}

type Courses = HashMap<Course, Price>;

struct Search<'a> {
    writes: &'a [Write],
    reads: &'a [Read],
    courses: Courses,
    /// The writes that can take effect: all that were called, without those that were acknowledged.
    possible: BTreeSet<usize>,
    /// The pending reads.
    open: BTreeSet<usize>,
    switching: bool,
}

/// Checks a history. A read of a demoted primary may be called up to `bound` after a switch.
pub(crate) fn check(history: &History, bound: Duration) -> Result<Fit, Misfit> {
    twice::look(history, bound)?;
    carried::look(history, bound)?;
    let reads = [&history.reads[..], &history.last].concat();
    let mut search = Search {
        writes: &history.writes,
        reads: &reads,
        courses: Courses::from([Default::default()]),
        possible: BTreeSet::new(),
        open: BTreeSet::new(),
        switching: false,
    };
    for (at, event) in events(history, &reads) {
        let stale_for = match event {
            Event::ReadReturned(read) => stale_for(history, &reads[read], bound),
            _ => None,
        };
        let next = search.step(event, stale_for);
        if next.is_empty() {
            let values = search.courses.keys().map(Course::value);
            return Err(explain::misfit(
                history,
                &reads,
                at,
                event,
                &values.collect(),
            ));
        }
        search.courses = next;
    }
    let fits = search.courses.values().map(|price| price.fit);
    Ok(fits.min().expect("a course is left"))
}

/// Returns whether a write took effect again after another one.
pub(crate) fn is_done_twice(history: &History, bound: Duration) -> bool {
    twice::look(history, bound).is_err() || carried::look(history, bound).is_err()
}

/// Returns all events, in order.
fn events(history: &History, reads: &[Read]) -> Vec<(Duration, Event)> {
    let mut events = Vec::new();
    for switch in &history.switches {
        events.push((switch.begun, Event::SwitchBegins));
        events.push((switch.seen, Event::SwitchSeen));
    }
    for (at, write) in history.writes.iter().enumerate() {
        events.push((write.called, Event::WriteCalled(at)));
        if write.acknowledged {
            events.push((write.returned, Event::WriteAcknowledged(at)));
        }
    }
    for (at, read) in reads.iter().enumerate() {
        events.push((read.called, Event::ReadCalled(at)));
        events.push((read.returned, Event::ReadReturned(at)));
    }
    events.sort_unstable();
    events
}

/// Returns how long after a switch the read was called, if the demoted primary may have answered it.
fn stale_for(history: &History, read: &Read, bound: Duration) -> Option<Duration> {
    let possible = history
        .switches
        .iter()
        .filter(|switch| read.returned >= switch.begun && read.called <= switch.seen + bound);
    possible
        .map(|switch| read.called.saturating_sub(switch.seen))
        .max()
}

impl Search<'_> {
    /// Returns the courses that fit this event too.
    fn step(&mut self, event: Event, stale_for: Option<Duration>) -> Courses {
        match event {
            Event::WriteCalled(write) => {
                self.possible.insert(write);
                self.courses.clone()
            }
            Event::ReadCalled(read) => {
                self.open.insert(read);
                self.each(|search, course, price| search.meet(course, price))
            }
            Event::ReadReturned(read) => self.read_returned(read, stale_for),
            Event::WriteAcknowledged(write) => {
                let mut fit = self.reach(|course| course.has_done(write));
                fit.retain(|course, _| course.has_done(write));
                self.possible.remove(&write);
                map(fit, |course, price| {
                    course.acknowledge(write, self.writes, price);
                })
            }
            Event::SwitchBegins => {
                self.switching = true;
                self.courses.clone()
            }
            Event::SwitchSeen => {
                let all = self.reach(|_| false);
                self.switching = false;
                map(all, |course, _| course.end_switch())
            }
        }
    }

    fn read_returned(&mut self, read: usize, stale_for: Option<Duration>) -> Courses {
        let mut fit = self.reach(|course| course.has_met(read));
        fit.retain(|course, _| course.has_met(read));
        self.open.remove(&read);
        let mut next = map(fit, |course, _| course.forget(read));
        let stale = stale_for.into_iter().flat_map(|stale_for| {
            let unmet = self.courses.iter().filter(|(c, _)| !c.has_met(read));
            unmet.map(move |(course, price)| {
                let mut price = price.clone();
                price.fit.stale += 1;
                price.fit.longest = price.fit.longest.max(stale_for);
                (course.clone(), price)
            })
        });
        for (course, price) in stale {
            keep(&mut next, course, price);
        }
        next
    }

    /// Returns all courses that can be reached by steps that may matter. Stops at each course that is `enough`.
    fn reach(&self, enough: impl Fn(&Course) -> bool) -> Courses {
        let mut reached = Courses::new();
        let mut open: Vec<_> = self.courses.clone().into_iter().collect();
        while let Some((course, price)) = open.pop() {
            if !keep(&mut reached, course.clone(), price.clone()) || enough(&course) {
                continue;
            }
            let mut next: Vec<_> = self
                .useful(&course)
                .map(|write| {
                    let (mut course, mut price) = (course.clone(), price.clone());
                    course.write(write, &self.writes[write], &mut price);
                    (course, price)
                })
                .collect();
            if self.switching {
                next.extend(course.switch(&price, self.writes));
            }
            for (mut course, mut price) in next {
                self.meet(&mut course, &mut price);
                open.push((course, price));
            }
        }
        reached
    }

    /// Returns the writes whose effect may matter now.
    fn useful(&self, course: &Course) -> impl Iterator<Item = usize> {
        let unmet = self.open.iter().filter(|read| !course.has_met(**read));
        let looked_for: Vec<_> = unmet.map(|read| self.reads[*read].value).collect();
        let useful = move |at: &usize| {
            let write = &self.writes[*at];
            if write.acknowledged {
                !course.has_done(*at)
            } else {
                looked_for.contains(&write.value)
            }
        };
        self.possible.iter().copied().filter(useful)
    }

    /// Lets pending reads see the value that the row holds.
    fn meet(&self, course: &mut Course, price: &mut Price) {
        let value = course.value();
        for read in &self.open {
            if self.reads[*read].value == value {
                course.meet(*read, price);
            }
        }
    }

    fn each(&self, change: impl Fn(&Self, &mut Course, &mut Price)) -> Courses {
        map(self.courses.clone(), |course, price| {
            change(self, course, price);
        })
    }
}

fn map(courses: Courses, change: impl Fn(&mut Course, &mut Price)) -> Courses {
    let mut changed = Courses::new();
    for (mut course, mut price) in courses {
        change(&mut course, &mut price);
        keep(&mut changed, course, price);
    }
    changed
}

/// Adds a course, unless the set has it at the same or a lower cost. Returns whether it was added.
fn keep(courses: &mut Courses, course: Course, price: Price) -> bool {
    match courses.entry(course) {
        Entry::Vacant(free) => {
            free.insert(price);
            true
        }
        Entry::Occupied(taken) if taken.get().fit <= price.fit => false,
        Entry::Occupied(mut taken) => {
            taken.insert(price);
            true
        }
    }
}
