//! The gRPC face: one file or folder a service, which turns a request into a domain call and its
//! outcome into an answer. No logic beyond that lives here, and no Redis.
//!
//! A unary call comes in by the [`FrontDoor`], which makes a [`Call`] of it: [`admission`] gives it a
//! place among the calls in flight, [`deadline`] bounds it, and `observe` writes its log line. The
//! three are values of their own, for calls that aren't unary. [`StreamsLayer`] ends server streams
//! when the broker is [`Stopping`].
//!
//! `fields` collects what is wrong with a request. `status` is the one place that knows how errors
//! look on the wire, and `refusal` gives the same look to what tonic refuses before a handler runs.

pub mod admission;
mod call;
pub mod deadline;
mod fields;
mod observe;
mod refusal;
mod status;
mod stopping;
mod stream_body;
mod streams;
mod token_broker;

pub use admission::Admission;
pub use call::{Call, FrontDoor};
pub use refusal::RefusalLayer;
pub use stopping::Stopping;
pub use streams::StreamsLayer;
pub use token_broker::TokenBrokerService;
