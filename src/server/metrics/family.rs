//! How metrics are written: families of one name each, with a value for each set of labels.

use std::fmt::{self, Debug};

use prometheus_client::{
    collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::PREFIX;
use crate::meter::{BOUNDS, Distribution};

/// Reads some metrics.
pub trait Collector: Debug + Send + Sync + 'static {
    /// Writes the metrics as they are now.
    ///
    /// # Errors
    /// Returns the error of the writer.
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result;
}

/// The writer of families.
#[derive(Debug)]
pub struct Families<'e>(DescriptorEncoder<'e>);

/// The labels of one value: their names and values.
type Labels<const N: usize> = [(&'static str, String); N];

/// Makes a collector of the library of one of ours.
#[derive(Debug)]
pub(super) struct Reading<C>(pub C);

impl<C: Collector> collector::Collector for Reading<C> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.collect(&mut Families(encoder))
    }
}

impl Families<'_> {
    /// Writes numbers that only grow. Their name gets the ending `_total`.
    ///
    /// # Errors
    /// Returns the error of the writer.
    pub fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, values, |value, metric| {
            ConstCounter::new(value).encode(metric)
        })
    }

    /// Writes numbers that grow and fall.
    ///
    /// # Errors
    /// Returns the error of the writer.
    pub fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, values, |value, metric| {
            ConstGauge::new(value).encode(metric)
        })
    }

    /// Writes histograms of times, in seconds.
    ///
    /// # Errors
    /// Returns the error of the writer.
    pub fn times<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, Distribution)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Histogram,
            values,
            |took, mut metric| {
                let bounds = BOUNDS.map(seconds);
                let bounds = bounds.into_iter().chain([f64::INFINITY]);
                let buckets: Vec<_> = bounds.zip(took.buckets).collect();
                let sum = took.took.as_secs_f64();
                metric.encode_histogram::<NoLabelSet>(sum, took.count(), &buckets, None)
            },
        )
    }

    /// Writes a number that isn't the broker's own, without the broker's prefix.
    ///
    /// # Errors
    /// Returns the error of the writer.
    pub fn of_process(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    fn family<const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels<N>, V)>,
        write: impl Fn(V, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let name = format!("{PREFIX}_{name}");
        let mut family = self.0.encode_descriptor(&name, help, None, kind)?;
        for (labels, value) in values {
            if N == 0 {
                return write(value, family);
            }
            write(value, family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}
