//! The settings of the server: its limits for clients.

use std::time::Duration;

use super::tokens::{LARGEST, LimitSettings};
use crate::config::{
    problem::Problems,
    syntax::{number, span, span_from, span_or_none},
};

/// The most bytes that a request to store a row has beyond the row itself: its ids and protobuf's
/// framing.
const FRAMING: usize = 2048;

settings! {
    /// The limits and timeouts for clients.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ServerOptions in "Limits" {
        /// Maximum size of one request, in bytes
        max_message_bytes: usize = number(1..=LARGEST).default("262144");
        /// Maximum number of calls in flight; further calls are refused at once
        max_calls: usize = number(1..=1_000_000).default("1024");
        /// Maximum number of calls of one tenant in flight, where the broker serves several
        max_calls_of_tenant: Option<usize> =
            number(1..=1_000_000).optional().otherwise("an eighth of max-calls, at least 100");
        /// Maximum size of all requests and answers in memory, in bytes; one connection may have a
        /// quarter of it, and so may one of several tenants
        max_bytes_in_flight: usize = number(1..=LARGEST).default("134217728");
        /// Maximum number of connections; for further ones, connections without calls are asked to
        /// make room
        max_connections: usize = number(1..=1_000_000).default("4096");
        /// Number of threads that serve connections; a connection keeps to one
        workers: Option<usize> = number(1..=256).optional().otherwise("one a core, at most 16");
        /// How long a call may take, even if its caller allows more. The caller then has as long again
        /// to read the answer
        call_timeout: Duration = span_from(Duration::from_millis(10)).default("10s");
        /// How often the broker pings a silent connection
        keepalive_interval: Duration = span_from(Duration::from_secs(1)).default("20s");
        /// How long a connection may stay open without a byte from its client, or an eighth longer;
        /// answers to pings count
        idle_timeout: Duration = span().default("60s");
        /// How old a connection may get, more or less a tenth, before its client is asked to open
        /// another one
        max_connection_age: Duration = span_from(Duration::from_millis(100)).default("1h");
        /// How long the calls and streams on such a connection may go on
        max_connection_age_grace: Duration = span().default("30s");
        /// How long the broker goes on serving at shutdown, while its health says that it doesn't
        shutdown_delay: Duration = span_or_none().default("0s").heading("Process");
        /// How long the broker waits for calls in flight at shutdown
        shutdown_grace: Duration = span().default("10s");
    }
}

impl ServerOptions {
    /// Adds a problem if live connections would be closed.
    pub(in crate::config) fn check(&self, problems: &mut Problems) {
        if self.idle_timeout <= self.keepalive_interval {
            let interval = Self::keepalive_interval;
            problems.add_together(
                Self::idle_timeout,
                &[interval],
                format!("must be longer than {interval}, or live connections would be closed"),
            );
        }
    }

    /// Adds a problem if a tenant's full row wouldn't fit into a request.
    pub(in crate::config) fn check_limits(&self, limits: &LimitSettings, problems: &mut Problems) {
        if self.max_message_bytes < limits.max_row_bytes + FRAMING {
            let row = LimitSettings::max_row_bytes;
            problems.add_together(
                Self::max_message_bytes,
                &[row],
                format!("must be at least {row} + {FRAMING}, or full rows can't be stored"),
            );
        }
    }
}
