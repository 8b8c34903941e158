//! One provider and its answers: what the broker sends, and what it makes of what comes back (guarantees, section 6,
//! R2, R4 to R6).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod connections;
mod credentials;
mod deletion;
mod discovery;
mod oidc;
mod requests;
mod revocation;
mod setup;
mod unread;
