//! What the broker measures, in Prometheus's text format.
//!
//! The numbers are kept by those who do the work, as atomics ([`crate::meter`]); here they are read, and get their
//! names and labels. Nothing is locked, and nothing is added up, before somebody asks.
//!
//! Each label has few values, which the broker knows beforehand: a name that a caller or a row made up is `other`.
//! None of them is, or is made of, an id or a token. `docs/monitoring.md` lists every metric.

mod calls;
mod connections;
mod family;
mod process;
mod refreshes;
mod store;
mod traces;
mod trail;
mod trust;

use std::fmt;

use prometheus_client::{encoding::prometheus_text, registry::Registry};

pub use self::{
    calls::{Calls, Waits},
    family::{Collector, Families},
    process::Process,
    refreshes::Refreshes,
    store::{Link, StoreCalls},
    traces::Spans,
    trail::Trail,
    trust::Guards,
};
pub use super::connections::ConnectionFigures;

/// The type of the text that [`Metrics::encode`] returns, for the header `content-type`.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// What the names of all metrics of the broker's own begin with.
const PREFIX: &str = "token_broker";

/// All metrics of a broker.
pub struct Metrics(Registry);

impl Metrics {
    /// Returns metrics of the process alone.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(family::Reading(Process::default())));
        Self(registry)
    }

    /// Adds what `collector` reads.
    #[must_use]
    pub fn with(mut self, collector: impl Collector) -> Self {
        self.0
            .register_collector(Box::new(family::Reading(collector)));
        self
    }

    /// Returns all metrics as they are now, in Prometheus's text format, whose type is [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // A string takes everything, so this can't fail.
        _ = prometheus_text::encode(&mut text, &self.0);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Returns a number as a label or a value of the library takes it.
fn number(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}
