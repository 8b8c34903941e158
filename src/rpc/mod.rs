//! The gRPC face: one file a service, which turns a request into a domain call and its outcome into
//! an answer. No logic beyond that lives here, and no Redis.
//!
//! [`calls`] is what every call passes through; `request` checks and converts what comes in,
//! `response` what goes out; `status` is the one place that knows how errors look on the wire,
//! and `refusal` gives the same look to what tonic refuses before a handler runs.

pub mod calls;
mod refusal;
mod request;
mod response;
mod status;
mod token_broker;

pub use calls::Calls;
pub use refusal::RefusalLayer;
pub use token_broker::TokenBrokerService;
