//! Numbers about the running process, as atomics that whoever does the work fills. Metrics are read from them.
//!
//! To count costs one atomic addition, and to take note of a time two. Nothing here has names or labels: those are
//! given where the numbers are [read](crate::server::metrics).

mod count;
mod panics;
mod times;
mod trust;

pub use self::{
    count::{Count, Gauge, Up},
    panics::PANICS,
    times::{BOUNDS, Distribution, Times},
    trust::{HandshakeFailure, KeyChange, Reload, Reloads, Trust},
};
