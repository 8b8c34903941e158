//! Work on all of a tenant's keys, beside the calls that are served: what goes through every key on every
//! server, and has to come out right whoever writes meanwhile.
//!
//! `scan` walks over the keys, and `rounds` walks again when servers changed under it. [`migration`] brings
//! in the data of older software, [`check`] verifies what is there and mends it. Neither knows of the other;
//! what both need, the grace period among it, is here.

pub mod check;
mod grace;
pub mod migration;
pub mod progress;
mod rounds;
mod scan;
mod seen;
