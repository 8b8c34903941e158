//! Callers and their policy (guarantees, section 8): who is served, and how far each caller reaches.

mod bulk;
mod clients;
mod counted;
mod foreign_tenant;
mod planted;
mod reload;
mod shares;
mod table;
mod tenants;
mod turns;
pub mod world;
