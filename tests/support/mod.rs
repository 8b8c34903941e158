//! What the test crates share: real servers, rows to store, and eyes for what Redis holds.
#![allow(dead_code, reason = "each test crate uses a part of it")]

pub mod audit;
pub mod broker;
pub mod broker_process;
pub mod linearizability;
pub mod redis_server;
pub mod redis_tenant;
pub mod resp_proxy;
pub mod rows;
pub mod snapshot;
pub mod waiting;
