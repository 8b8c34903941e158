//! The ids of traces and spans (W3C Trace Context, sections 2.2.3 and 2.2.4). They are random, and made of nothing.

/// The id of a trace. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceId(pub u128);

/// The id of a span. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanId(pub u64);

impl TraceId {
    /// Draws an id.
    pub fn random() -> Self {
        // 0 is as improbable as any other, and means that there is none.
        Self(rand::random::<u128>().max(1))
    }
}

impl SpanId {
    /// Draws an id.
    pub fn random() -> Self {
        Self(rand::random::<u64>().max(1))
    }
}
