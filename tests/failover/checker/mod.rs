//! Tests the checker: it accepts everything that a replicated row may do, and finds each planted
//! fault.

mod by_hand;
mod register;
mod simulated;
