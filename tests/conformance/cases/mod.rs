//! The cases. Each is an async function that panics if a backend breaks a guarantee. `suite.rs`
//! lists them, and the compiler warns about a case that isn't listed.

pub mod authorizations;
pub mod carry_forward;
pub mod carry_races;
pub mod conditions;
pub mod delete;
pub mod identities;
pub mod ids;
pub mod invariants;
pub mod lifetime;
pub mod limits;
pub mod listing;
pub mod lost_answer_races;
pub mod lost_answers;
pub mod model;
pub mod origins;
pub mod races;
pub mod read;
pub mod records;
pub mod store;
pub mod users;
