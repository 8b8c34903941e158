//! Failovers under load: nothing that was acknowledged is lost, and nobody reads what is gone.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests panic as tests do, and count little"
)]

mod checker;
mod cluster;
mod fault;
mod half_moved;
mod history;
mod load;
mod outcome;
mod report;
mod round;
mod rows;
mod sentinel;
mod series;
mod world;

/// One deployment at a time, so that none slows another's failovers down.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
