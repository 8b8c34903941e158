//! Failovers under load: no acknowledged write is lost, and no caller reads a value that is gone.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "test helpers panic as tests do, and their numbers are small"
)]

mod checker;
mod cluster;
mod fault;
mod half_moved;
mod history;
mod listing;
mod load;
mod outcome;
mod report;
mod round;
mod rows;
mod sentinel;
mod series;
mod setup;

/// Runs one deployment at a time, so that none slows another's failovers down.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
