//! The Redis backend, in three parts.
//!
//! - `link/` is the process's way to Redis. It makes connections (`wire`), finds the primary (`topology`), and
//!   sends requests to it, again if that is safe.
//! - The files in this folder are the store of one tenant. [`keyspace`] makes the names of the keys, and [`row`]
//!   encodes rows. `scripts/*.lua` change them, each script in one atomic step. All keys of a tenant share a hash
//!   slot, so that a script may access all of them.
//! - [`maintenance`] goes through all keys. [`migration`](maintenance::migration) brings in older data, and
//!   [`check`](maintenance::check) verifies what is there.

mod announcements;
mod authorizations;
mod eviction;
mod hazards;
mod identities;
pub mod index_position;
pub mod keyspace;
mod largest;
mod link;
pub mod maintenance;
mod options;
pub mod pending;
mod probe;
mod process;
mod readiness;
pub mod record;
mod records;
pub mod row;
mod rows;
mod scripts;
mod session;
mod telling;
mod user;
mod user_position;
mod user_rows;

pub use self::{
    largest::Largest,
    link::wire::{AtFault, ConnectError, Peer, TlsPart},
    options::{Access, Address, Deployment, Durability, Password, RedisOptions, Spelling, Tls},
    process::{Redis, RedisStore},
};
