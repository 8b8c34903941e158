//! Tests of the ways to the broker (guarantees, section 8): TLS and client certificates, what becomes of connections when
//! certificates expire or change, Unix sockets, and the listeners for probes. Each test runs the program in a process of
//! its own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints figures"
)]

mod broker;
mod cert_manager;
mod certificates;
mod command;
mod deaf;
mod ends;
mod hardened;
mod joined;
mod listeners;
mod policy;
mod raw;
mod reload;
mod room;
mod shown;
mod spiffe;
mod steady;
mod svid;
mod svid_away;
mod svid_broken;
mod table;
mod unix;
mod versions;
