//! Refresh: one redemption, whatever happens (guarantees, section 6).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it measured"
)]

mod ahead;
mod answers;
mod auth_server;
mod brokers;
mod clear;
mod completions;
mod coordination;
mod crashes;
mod echo;
mod failpoints;
mod id_tokens;
mod latency;
mod lifetimes;
mod lost_answers;
mod lost_sessions;
mod naive;
mod not_sent;
mod one_token;
mod outage;
mod races;
mod sharing;
mod told;
mod unsaved;
