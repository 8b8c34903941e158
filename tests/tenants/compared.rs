//! The figures of all rounds, and what they say about each other.

use std::time::Duration;

use crate::{callers::Served, flood::Kind};

/// How late the calls of the quiet tenants were answered in each round: p99.
#[derive(Default)]
pub struct Compared {
    alone: Vec<Duration>,
    floods: Vec<(Kind, Vec<Beside>)>,
}

/// p99 beside a flood, and beside the same flood of another broker on this machine.
struct Beside {
    here: Duration,
    elsewhere: Option<Duration>,
}

impl Compared {
    /// Begins a round, with what was measured without a flood.
    pub fn begin(&mut self, served: Served) {
        println!("others, alone: {served}");
        self.alone.push(served.p99);
    }

    /// Takes note of a flood in this round, and of the same one at another broker.
    pub fn note(&mut self, flood: Kind, here: Served, elsewhere: Option<Served>) {
        println!("others, beside {flood}: {here}");
        if let Some(served) = &elsewhere {
            println!("others, beside {flood} of another broker: {served}");
        }
        let beside = Beside {
            here: here.p99,
            elsewhere: elsewhere.map(|served| served.p99),
        };
        match self.floods.iter_mut().find(|(known, _)| *known == flood) {
            Some((_, rounds)) => rounds.push(beside),
            None => self.floods.push((flood, vec![beside])),
        }
    }

    /// Prints the ratios of what was measured in the same round: the median of all rounds, and the extremes. Returns the
    /// highest median of those to the floods of another broker, if there were any: what it costs to share a broker with a
    /// flood, beside what it costs to share a machine with it.
    pub fn tell(&self) -> Option<f64> {
        let alone = || self.alone.iter().map(|p99| Some(*p99));
        let each = self.floods.iter().filter_map(|(flood, rounds)| {
            let here = || rounds.iter().map(|beside| Some(beside.here));
            let elsewhere = || rounds.iter().map(|beside| beside.elsewhere);
            tell(&format!("{flood}, by alone"), here(), alone());
            tell(
                &format!("{flood} of another broker, by alone"),
                elsewhere(),
                alone(),
            );
            tell(
                &format!("{flood}, by the same of another broker"),
                here(),
                elsewhere(),
            )
        });
        each.max_by(f64::total_cmp)
    }
}

/// Prints the ratios of p99 beside `what`, and returns their median.
fn tell(
    what: &str,
    measured: impl Iterator<Item = Option<Duration>>,
    base: impl Iterator<Item = Option<Duration>>,
) -> Option<f64> {
    let ratio = |(measured, base): (Option<Duration>, Option<Duration>)| {
        Some(measured?.as_secs_f64() / base?.as_secs_f64())
    };
    let mut ratios: Vec<_> = measured.zip(base).filter_map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let (lowest, highest) = (*ratios.first()?, *ratios.last()?);
    let (median, rounds) = (ratios[ratios.len() / 2], ratios.len());
    println!("p99 beside {what}: {median:.2} ({lowest:.2} to {highest:.2}, {rounds} rounds)");
    Some(median)
}
