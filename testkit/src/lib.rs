//! What the tests and the benchmark share: real servers of every topology, rows to store, and tools
//! to inspect what Redis holds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod audit;
pub mod authority;
pub mod broker;
pub mod broker_process;
pub mod canary;
pub mod captured_log;
pub mod certificates;
pub mod cluster;
mod cluster_nodes;
pub mod deployment;
pub mod failover;
pub mod half_open;
pub mod hardened;
pub mod http2;
pub mod launch;
pub mod linearizability;
pub mod link;
pub mod oidc_provider;
pub mod old_rows;
pub mod own_memory;
pub mod panicking_log;
pub mod partition;
pub mod pending;
pub mod private_file;
pub mod provider;
pub mod raw_codec;
pub mod redis_server;
pub mod redis_tenant;
pub mod replica;
pub mod requests;
pub mod reserved_port;
pub mod resp_proxy;
pub mod rotating_provider;
pub mod rows;
pub mod sealing;
pub mod security;
pub mod sentinel;
pub mod slot_move;
pub mod snapshot;
pub mod standalone;
pub mod switches;
pub mod token_endpoint;
mod tree;
pub mod waiting;
pub mod workload_api;
