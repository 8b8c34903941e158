//! The running broker, from its configuration to its end.
//!
//! `assemble` is the table of contents: what a broker is made of, from top to bottom. `prepare` is
//! what comes before it serves, `run` listens and stops. `connections` accepts connections, `health`
//! answers probes.
//!
//! [`Server::run`] listens from the beginning, so that probes are answered; the `TokenBroker` service
//! refuses calls as `MIGRATING` until what has to come first is done.

mod assemble;
mod connections;
mod error;
mod health;
mod prepare;
mod run;

use std::time::Duration;

pub use self::{
    assemble::{Server, serve},
    error::ServeError,
    health::LIVENESS,
};

/// How the server treats its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Calls in flight; more are refused.
    pub max_calls: usize,
    /// Connections at once; more wait to be accepted.
    pub max_connections: usize,
    /// The largest request, in bytes.
    pub max_message_bytes: usize,
    /// How long a call may take, whatever its caller allows.
    pub call_timeout: Duration,
    /// How often a silent connection is pinged.
    pub keepalive_interval: Duration,
    /// How long a connection may go without a byte from its client, pings' answers included.
    pub idle_timeout: Duration,
    /// How long calls in flight are waited for at the end.
    pub shutdown_grace: Duration,
}
