//! Work that goes through all of a tenant's keys, on every server, while calls are served. It comes out right
//! even though others write meanwhile.
//!
//! [`migration`] brings in the data of older software. [`check`] verifies what is there, and mends it. [`reseal`] seals rows
//! with another key. None of them knows another. What they need is here:
//!
//! - `scan` walks over the keys. `rounds` has a walk repeated when servers changed meanwhile, and `seen` notices the
//!   keys that a walk finds twice.
//! - [`progress`] tells a person how far the work is.
//! - [`tenants`] names those that hold data, for an operator who named one that holds none.
//! - `lease` lets one broker work while the others wait.
//! - [`records`] goes through the records of refresh tokens.
//! - `grace` is the grace period, in which other software may still write to the tenant.

pub mod check;
mod grace;
mod lease;
pub mod migration;
pub mod progress;
pub mod records;
mod repeated;
pub mod reseal;
mod rounds;
mod scan;
mod seen;
pub mod tenants;
