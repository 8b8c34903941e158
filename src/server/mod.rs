//! The running broker, from its start to its end.
//!
//! Begin with `assemble`, which puts the parts of a broker together. `prepare` does the work that comes
//! before serving, and `run` listens and stops. `connections` accepts connections and makes room for them,
//! `connection` serves one, and `health` answers probes.
//!
//! [`Server::run`] listens from the beginning, so that probes are answered. The `TokenBroker` service
//! refuses calls as `MIGRATING` until the preparation is done.

mod activity;
mod assemble;
mod connection;
mod connections;
mod descriptors;
mod error;
mod health;
mod prepare;
mod run;
mod signals;
mod socket;

pub use self::{
    assemble::{Server, serve},
    error::ServeError,
    health::LIVENESS,
};
