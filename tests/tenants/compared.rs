//! The figures of all rounds, and what they say about each other.

use std::time::Duration;

use crate::callers::Served;

/// How late the calls of the quiet tenants were answered in each round: p99.
#[derive(Default)]
pub struct Compared {
    alone: Vec<Duration>,
    floods: Vec<(&'static str, Vec<Beside>)>,
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
    pub fn note(&mut self, flood: &'static str, here: Served, elsewhere: Option<Served>) {
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

    /// Prints the ratios of what was measured in the same round: the median of all rounds, and the extremes.
    pub fn tell(&self) {
        for (flood, rounds) in &self.floods {
            let here = rounds.iter().map(|beside| Some(beside.here));
            let elsewhere = rounds.iter().map(|beside| beside.elsewhere);
            let alone = self.alone.iter().map(|p99| Some(*p99));
            tell(
                &format!("beside {flood}, by alone"),
                here.clone(),
                alone.clone(),
            );
            tell(
                &format!("beside {flood} of another broker, by alone"),
                elsewhere.clone(),
                alone,
            );
            tell(
                &format!("beside {flood}, by beside the same of another broker"),
                here,
                elsewhere,
            );
        }
    }
}

fn tell(
    what: &str,
    measured: impl Iterator<Item = Option<Duration>>,
    base: impl Iterator<Item = Option<Duration>>,
) {
    let ratio = |(measured, base): (Option<Duration>, Option<Duration>)| {
        Some(measured?.as_secs_f64() / base?.as_secs_f64())
    };
    let mut ratios: Vec<_> = measured.zip(base).filter_map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let [lowest, .., highest] = ratios[..] else {
        return;
    };
    let (median, rounds) = (ratios[ratios.len() / 2], ratios.len());
    println!("p99 {what}: {median:.2} ({lowest:.2} to {highest:.2}, {rounds} rounds)");
}
