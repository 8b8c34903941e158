//! The checker is checked: it takes what a replicated row may do, and finds each planted fault.

mod by_hand;
mod register;
mod simulated;
