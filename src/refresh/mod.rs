//! Keeping access tokens valid: who redeems a refresh token, and what is done with the answer (guarantees, section 6).
//!
//! [`rules`] decides what an attempt may do and what becomes of a record. It has no clock, no store and no network, so that
//! tests can go through all interleavings.

pub mod rules;
