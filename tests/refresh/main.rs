//! Refresh: one redemption, whatever happens (guarantees, section 6).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brokers;
mod crashes;
mod failpoints;
mod sharing;
