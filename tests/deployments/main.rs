//! That the deployments that other tests run on are what they say: what is cut is cut, who is
//! hidden is hidden, and everything ends where it should.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod rights;
mod sentinel;
#[path = "../support/mod.rs"]
mod support;
