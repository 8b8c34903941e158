//! How calls are traced.

use super::Collector;

/// How calls are traced, and where the traces go.
#[derive(Clone, Debug)]
pub struct TracesOptions {
    /// Who gets the spans.
    pub collector: Collector,
    /// The part of calls that is traced although no caller asks for it, from 0 to 1.
    pub part: f64,
    /// How many calls a second are traced because their callers ask for it.
    pub asked: u32,
    /// How many spans may wait to be sent. Each has about half a kilobyte.
    pub room: usize,
    /// The name of the service that the spans are of.
    pub service: String,
    /// The name of this process among all of the service. `None`: it is drawn at the start.
    pub instance: Option<String>,
}
