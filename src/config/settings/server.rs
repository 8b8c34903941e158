//! Where to serve, and how clients are treated.

use std::{net::SocketAddr, time::Duration};

use super::tokens::{LARGEST, LimitSettings};
use crate::config::{
    problem::Problems,
    syntax::{address, boolean, number, span},
};

/// What a request to store a row is larger than the row at most: its ids, and protobuf's framing.
const FRAMING: usize = 2048;

settings! {
    /// Where to serve.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct ListenSettings {
        /// Address and port to serve gRPC on. Port 0 takes a free one, which the log tells
        listen: SocketAddr = address().default("127.0.0.1:50051");
        /// Serve on an address that isn't loopback, in plain text and to any caller: only where the
        /// network itself keeps others out
        insecure_allow_remote: bool = boolean().default("false");
    }
}

settings! {
    /// How the server treats its clients.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ServerOptions in "Limits" {
        /// Bytes of one request at most
        max_message_bytes: usize = number(1..=LARGEST).default("262144");
        /// Calls in flight at most; more are refused at once
        max_calls: usize = number(1..=1_000_000).default("1024");
        /// Connections at most; more wait to be accepted
        max_connections: usize = number(1..=1_000_000).default("4096");
        /// How long a call may take, whatever its caller allows
        call_timeout: Duration = span().default("10s");
        /// How often a silent connection is pinged
        keepalive_interval: Duration = span().default("20s");
        /// How long a connection may go without a byte from its client, answers to pings included
        idle_timeout: Duration = span().default("60s");
        /// How long calls in flight are waited for at shutdown
        shutdown_grace: Duration = span().default("10s").heading("Process");
    }
}

impl ListenSettings {
    /// Only loopback is served without being told so.
    pub fn check(&self, problems: &mut Problems) {
        if !self.listen.ip().is_loopback() && !self.insecure_allow_remote {
            problems.add(
                Self::listen,
                format!(
                    "is not a loopback address, and calls are neither encrypted nor authenticated; \
                     set {} if the network itself keeps others out",
                    Self::insecure_allow_remote
                ),
            );
        }
    }
}

impl ServerOptions {
    /// Live connections stay open, and a full row fits into a request.
    pub(in crate::config) fn check(&self, limits: &LimitSettings, problems: &mut Problems) {
        if self.idle_timeout <= self.keepalive_interval {
            let interval = Self::keepalive_interval;
            problems.add(
                Self::idle_timeout,
                format!("must be longer than {interval}, or live connections end"),
            );
        }
        if self.max_message_bytes < limits.max_row_bytes + FRAMING {
            let row = LimitSettings::max_row_bytes;
            problems.add(
                Self::max_message_bytes,
                format!("must be {row} and {FRAMING} more, or full rows can't be stored"),
            );
        }
    }
}
