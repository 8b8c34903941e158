//! A gRPC service that keeps the upstream OAuth 2.0 and OpenID Connect tokens of logged-in
//! sessions, one row for each pair of session and provider.

pub mod cli;
pub mod config;
pub mod error;
pub mod proto;
pub mod rpc;
pub mod server;
pub mod store;
pub mod tokens;
pub mod types;
