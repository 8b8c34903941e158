//! The audit trail of a broker that is killed, that stops, whose disk is full and whose files are renamed: an answer that
//! reached its caller has its event (guarantees, section 8).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ends;
mod files;
mod world;
