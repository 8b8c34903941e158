//! The audit trail of a broker that is killed, that stops, whose disk is full and whose files are renamed: an answer that
//! reached its caller has its event (guarantees, section 8).
//!
//! | what | file |
//! |---|---|
//! | a broker that is killed or stops; the command that verifies a trail | `ends` |
//! | destinations that can't be used, and that settings name twice | `destinations` |
//! | files that are full, renamed and gone; the rights of the key | `files` |
//! | the command that names what stands in events | `named` |
//! | which policy judged a call | `policies` |
//! | two callers of a policy who store and read, with a file, the standard output and both; a pipe that nobody reads | `sinks` |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod destinations;
mod ends;
mod files;
mod named;
mod policies;
mod sinks;
mod two_callers;
mod world;
