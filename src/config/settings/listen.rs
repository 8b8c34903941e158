//! The settings that say where the broker listens.

use std::net::SocketAddr;

use crate::config::{
    listen::Listen,
    syntax::{Syntax, address, boolean},
};

/// The rights of a socket unless the operator wants others.
const MODE: u32 = 0o600;

settings! {
    /// Where to serve.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct ListenSettings {
        /// Address and port to serve gRPC on, or unix:/PATH. Port 0 takes a free port, which the log shows
        listen: Listen = Syntax::trimmed("ADDR:PORT", Listen::parse).default("127.0.0.1:50051");
        /// The rights of the socket, in octal, if `listen` is unix:/PATH: who may open it is served
        listen_mode: Option<u32> = Syntax::trimmed("MODE", mode).optional().otherwise("600");
        /// Address and port to serve health alone on, in plain text, for probes that bring no certificate
        health_listen: Option<SocketAddr> = address().optional();
        /// Address and port to serve /livez, /readyz and /metrics on, in plain text HTTP
        metrics_listen: Option<SocketAddr> = address().optional();
        /// Serve on an address that isn't loopback without TLS, or without a policy to any caller. Use it
        /// only if the network itself keeps other callers out
        insecure_allow_remote: bool = boolean().default("false");
    }
}

impl ListenSettings {
    /// Returns the rights of the socket.
    pub fn mode(&self) -> u32 {
        self.listen_mode.unwrap_or(MODE)
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let text = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(text, 8).ok();
    mode.filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600)
        .ok_or_else(|| {
            "must be rights in octal that let the owner read and write, from 600 to 777".to_owned()
        })
}
