//! The cases: each an async function that panics where a backend breaks a promise. `main.rs` lists
//! them; one that is not listed there is a warning of the compiler.

pub mod carry_forward;
pub mod carry_races;
pub mod conditions;
pub mod delete;
pub mod ids;
pub mod invariants;
pub mod lifetime;
pub mod limits;
pub mod listing;
pub mod model;
pub mod races;
pub mod read;
pub mod store;
pub mod users;
