//! The running broker, from its start to its end.
//!
//! Begin with `assemble`, which puts the parts of a broker together. `prepare` does the work that comes
//! before serving, and `run` listens and stops. `entrance` has the ways to the services. `connections` accepts connections and makes room for them; `open` has those of one listener. Each of them
//! belongs to one of the `workers`, the threads where `connection` serves it, after the `handshake`. `events` says when it
//! ends, `frames` finds calls in what a client sends, and `begun` those that HTTP/2 has refused. `health` answers probes, and so does `probes`, for machines that speak HTTP/1 alone; `scrape` has the text of `/metrics` written elsewhere. `measured` lists what has metrics. `policy` takes up a policy of
//! the callers that has changed.
//!
//! [`Server::run`] listens from the beginning, so that probes are answered. The broker's own services
//! refuse calls as `MIGRATING` until the preparation is done.

mod activity;
mod assemble;
mod beginning;
mod begun;
mod connection;
mod connections;
mod descriptors;
mod entrance;
mod error;
mod events;
mod frames;
mod handshake;
mod health;
mod listeners;
mod measured;
mod memory;
pub mod metrics;
mod open;
mod pages;
mod policy;
mod prepare;
mod probes;
mod run;
mod scrape;
mod services;
mod signals;
mod socket;
mod source;
mod tenancy;
mod trouble;
mod unix_socket;
mod wire;
mod workers;

pub use self::{
    assemble::{Server, serve},
    error::ServeError,
    health::LIVENESS,
    listeners::Listeners,
    tenancy::{Ready, Upkeep},
};
