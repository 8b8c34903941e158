//! Refreshing tokens at their providers.
//!
//! [`provider`] is all that is known of one provider: its settings, and the calls to its token and revocation
//! endpoints. It knows no store and no other broker. [`breaker`] and [`gate`] keep a process from calling a provider
//! too often; time is passed in to both.

pub mod breaker;
pub mod gate;
pub mod provider;
