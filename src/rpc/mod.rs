//! The gRPC interface, with one file or folder per service. A service turns a request into a call of
//! the domain, and the outcome into a response. This module has no other logic, and doesn't know
//! Redis.
//!
//! A unary call passes through the [`FrontDoor`], a layer around the service, which asks the policy who calls and whether
//! that is allowed, and makes a [`Call`] of it. Handlers check what only the message tells: providers and bindings.
//! [`admission`] gives the call a place among the calls in flight, [`deadline`] bounds it, and `observe`
//! writes its log line. `figures` counts it as what its caller is told. [`audit`](crate::audit) gets an
//! event of it, and `traced` has the span of a call that is [traced](crate::traces): `notes` has what the handler knows of it, and `audited` holds the answer back until the event is written. `request_body`, `work` and `answer` are the call's parts in the order of time. Each
//! holds a share in the call's permit. Probes and tools use the [`SideDoor`], at the pace of the [`PaceLayer`]. `stream_limit` ends the streams
//! of clients that don't read, and [`StreamsLayer`] ends server streams when the broker is [`Stopping`].
//!
//! `fields` collects the violations of a request, and `values` makes parts of answers. Only `status` knows how errors look on the wire.
//! `refusal` gives the same form to the errors of calls that tonic refuses before a handler runs, and
//! [`ShortMessagesLayer`] shortens what tonic says in the others.

mod access_tokens;
pub mod admission;
mod answer;
mod audited;
mod call;
pub mod deadline;
mod door;
mod fields;
mod figures;
mod identities;
mod notes;
mod observe;
mod paced;
mod pending_authorizations;
mod refusal;
mod request_body;
mod short_message;
mod side_door;
mod status;
mod stopping;
mod stream_body;
mod stream_limit;
mod streams;
mod token_broker;
mod told;
mod traced;
mod values;
mod work;

pub use access_tokens::AccessTokensService;
pub use admission::{Admission, CallLimits, TenantLimits, TenantShare};
pub use call::Call;
pub use door::{FrontDoor, TenantDoor, TenantDoors};
pub use figures::{CallFigures, Ended};
pub use identities::IdentitiesService;
pub use paced::{PaceLayer, Paced};
pub use pending_authorizations::PendingAuthorizationsService;
pub use refusal::RefusalLayer;
pub use short_message::ShortMessagesLayer;
pub use side_door::SideDoor;
pub use stopping::Stopping;
pub use stream_limit::Limited;
pub use streams::{Streams, StreamsLayer};
pub use token_broker::TokenBrokerService;
