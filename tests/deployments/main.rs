//! That the deployments that other tests run on are what they say: what is cut is cut, who is
//! hidden is hidden, and everything ends where it should. And what a broker makes of all of their servers
//! hanging or gone at once: `bounds`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod cluster;
mod rights;
mod sentinel;
