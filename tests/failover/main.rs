//! Failovers under load: nothing that was acknowledged is lost, and nobody reads what is gone.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests panic as tests do, and count little"
)]

mod checker;
mod fault;
mod history;
mod load;
mod outcome;
mod report;
mod round;
mod rows;
mod sentinel;
mod series;
#[path = "../support/mod.rs"]
mod support;
mod world;
