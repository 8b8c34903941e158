//! The figures of all rounds, and what they say about each other.

use crate::callers::Served;

/// How the calls of the quiet tenants went in each part of each round. The first part of a round is the quiet one.
#[derive(Default)]
pub struct Compared(Vec<(&'static str, Vec<Served>)>);

impl Compared {
    /// Takes note of a part of a round.
    pub fn note(&mut self, part: &'static str, served: Served) {
        println!("others, {part}: {served}");
        match self.0.iter_mut().find(|(known, _)| *known == part) {
            Some((_, rounds)) => rounds.push(served),
            None => self.0.push((part, vec![served])),
        }
    }

    /// Prints the p99 of each part by that of the quiet part of the same round: the median of all rounds, and the extremes.
    pub fn tell(&self) {
        let Some(((_, alone), parts)) = self.0.split_first() else {
            return;
        };
        for (part, rounds) in parts {
            let each = rounds.iter().zip(alone);
            let mut ratios: Vec<_> = each
                .map(|(served, alone)| served.p99.as_secs_f64() / alone.p99.as_secs_f64())
                .collect();
            ratios.sort_by(f64::total_cmp);
            let (lowest, highest) = (ratios[0], ratios[ratios.len() - 1]);
            let median = ratios[ratios.len() / 2];
            println!(
                "p99 beside a {part}, by p99 alone: {median:.2} ({lowest:.2} to {highest:.2}, {} rounds)",
                ratios.len()
            );
        }
    }
}
