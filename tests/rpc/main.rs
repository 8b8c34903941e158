//! Tests of the service as a client sees it, over a real connection: what it answers, how it refuses (guarantees,
//! section 2.5), and that bad clients can't harm it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access_tokens;
mod answers;
mod audited;
mod callers;
mod connections;
mod damaged_indexes;
mod damaged_records;
mod deadlines;
mod every_rpc;
mod fields;
mod flow_fields;
mod flow_reasons;
mod log_lines;
mod metrics;
mod reasons;
mod refresh_fields;
mod refreshing;
mod refusal;
mod serving;
mod sizes;
mod streams;
mod table;
mod traces;
mod trailers;
mod undecodable;
