//! The Redis backend, in three rooms.
//!
//! - `link/` is the process's way to Redis: one connection (`wire`), which server is the primary
//!   (`topology`), and requests that are sent to it, again where that is safe.
//! - The files here are what one tenant's store does over it: [`keyspace`] names the keys, [`row`] spells
//!   the rows, `scripts/*.lua` change them, one atomic step each. What one tenant holds shares a hash slot,
//!   so that a script may touch all of it.
//! - [`maintenance`] goes through all keys: [`migration`](maintenance::migration) brings in older data,
//!   [`check`](maintenance::check) verifies what is there.

mod identities;
pub mod keyspace;
mod link;
pub mod maintenance;
mod options;
mod probe;
mod process;
pub mod row;
mod rows;
mod scripts;
mod user_rows;

pub use self::{
    link::wire::{AtFault, ConnectError, Peer, TlsPart},
    options::{Access, Address, Deployment, Durability, Password, RedisOptions, Tls},
    process::{Redis, RedisStore},
};
