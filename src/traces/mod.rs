//! Traces of calls, sent to a collector by OTLP.
//!
//! A [`Span`] says what took how long, and belongs to the trace of a call. [`Traces::begin`] decides whether a call is
//! traced. If it is, its span is the current one of its thread while its work runs, and whatever works for it begins
//! children of that ([`child`]). Elsewhere there is no current span, and nothing is done.
//!
//! What a span says is an [`Attribute`]. There is none that takes a text: a span has no place for an id, a token, or
//! the message of an error.
//!
//! Spans that have ended wait in a queue that is bounded. One task sends them. Nothing else ever waits for the collector.

mod attribute;
mod collector;
mod current;
mod encode;
mod export;
mod figures;
mod ids;
mod options;
mod parent;
mod sampler;
mod span;
mod tracer;

pub use self::{
    attribute::Attribute,
    collector::{Collector, CollectorProblem},
    current::{Entered, child, during, fail, note, retried},
    figures::TraceFigures,
    options::TracesOptions,
    parent::Parent,
    span::{Kind, Link, Name, Span},
    tracer::Traces,
};
