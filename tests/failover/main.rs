//! Failovers under load.
#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod checker;
mod history;
