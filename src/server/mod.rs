//! The running broker, from its configuration to its end.
//!
//! `assemble` is the table of contents: what a broker is made of, from top to bottom. `prepare` is
//! what comes before it serves, `run` listens and stops. `connections` accepts connections, `health`
//! answers probes.
//!
//! [`Server::run`] listens from the beginning, so that probes are answered; the `TokenBroker` service
//! refuses calls as `MIGRATING` until what has to come first is done.

mod assemble;
mod connections;
mod error;
mod health;
mod prepare;
mod run;

pub use self::{
    assemble::{Server, serve},
    error::ServeError,
    health::LIVENESS,
};
