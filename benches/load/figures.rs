//! What was measured: figures of each round, and how they compare with those of another subject in the same
//! round.

use serde_json::Value;

/// One figure of one subject.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// The name in JSON, with its unit.
    pub(crate) name: &'static str,
    /// The name in tables, with its unit.
    pub(crate) heading: &'static str,
    /// One value a round.
    pub(crate) rounds: Vec<f64>,
    /// One value a round: this subject's figure by that of the subject that it is compared with. Noise that both have
    /// cancels.
    pub(crate) ratio: Option<Vec<f64>>,
}

/// All figures of one subject under one load.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// What was measured, on what, and how.
    pub(crate) labels: Vec<(&'static str, Value)>,
    pub(crate) figures: Vec<Figure>,
}

/// Series that belong together. The label `subject` tells them apart.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) series: Vec<Series>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, heading: &'static str, rounds: Vec<f64>) -> Self {
        Self {
            name,
            heading,
            rounds,
            ratio: None,
        }
    }
}

impl Series {
    pub(crate) fn new(labels: Vec<(&'static str, Value)>, figures: Vec<Figure>) -> Self {
        Self { labels, figures }
    }

    pub(crate) fn label(&self, name: &str) -> &Value {
        let label = self.labels.iter().find(|(other, _)| *other == name);
        label.map_or(&Value::Null, |(_, value)| value)
    }

    pub(crate) fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// Compares with another series, round by round, all figures that both have.
    pub(crate) fn compare(&mut self, base: &Self) {
        for figure in &mut self.figures {
            let Some(of_base) = base.figure(figure.name) else {
                continue;
            };
            let pairs = figure.rounds.iter().zip(&of_base.rounds);
            // A short round may use no CPU time that the kernel counts.
            if of_base.rounds.iter().all(|value| *value > 0.0) {
                figure.ratio = Some(pairs.map(|(value, base)| value / base).collect());
            }
        }
    }
}

/// The median of a figure's rounds, and how far they spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// Returns the spread of these values, of which there is at least one.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self {
            median,
            lowest: values[0],
            highest: values[values.len() - 1],
        }
    }
}
