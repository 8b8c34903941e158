//! What a broker makes of its servers: with the rights of `deploy/redis/` and no others, and where all
//! of them hang or are gone at once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod hang;
mod names;
mod rights;
mod tenants;
