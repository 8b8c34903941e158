//! Keeping access tokens valid: who redeems a refresh token at its provider, and what is done with the answer.
//!
//! [`provider`] is all that is known of one provider: its settings, and the calls to its token and revocation
//! endpoints. It knows no store and no other broker. [`breaker`] and [`gate`] keep a process from calling a provider
//! too often; time is passed in to both. [`waits`] tells the gate whether a call may wait at all. [`rules`] decides what an attempt may do and what becomes of the record that all
//! brokers share. It has no clock, no store and no network, so that tests can go through all interleavings.

pub mod breaker;
pub mod gate;
pub mod provider;
pub mod rules;
pub mod waits;
