//! The gRPC interface, with one file or folder per service. A service turns a request into a call of
//! the domain, and the outcome into a response. This module has no other logic, and doesn't know
//! Redis.
//!
//! A unary call passes through the [`FrontDoor`], which makes a [`Call`] of it. [`admission`] gives
//! the call a place among the calls in flight, [`deadline`] bounds it, and `observe` writes its log
//! line. Each of the three can be used separately, for calls that aren't unary. [`StreamsLayer`] ends
//! server streams when the broker is [`Stopping`].
//!
//! `fields` collects the violations of a request. Only `status` knows how errors look on the wire.
//! `refusal` gives the same form to the errors of calls that tonic refuses before a handler runs, and
//! [`ShortMessagesLayer`] shortens what tonic says in the others.

pub mod admission;
mod call;
pub mod deadline;
mod fields;
mod observe;
mod refusal;
mod short_message;
mod status;
mod stopping;
mod stream_body;
mod streams;
mod token_broker;

pub use admission::Admission;
pub use call::{Call, FrontDoor};
pub use refusal::RefusalLayer;
pub use short_message::ShortMessagesLayer;
pub use stopping::Stopping;
pub use streams::StreamsLayer;
pub use token_broker::TokenBrokerService;
