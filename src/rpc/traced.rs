//! The span of a call, for calls that are traced.
//!
//! It says which method it was, for which tenant and what kind of caller, and what the caller was told: the code and
//! the reason. It begins when the call is admitted, and ends when the answer may leave.

use tonic::Code;

use super::{Call, status, told::Told};
use crate::traces::{Attribute, Entered, Kind, Span};

/// The span of a call. If it is dropped before the caller was told anything, the caller has left.
#[derive(Debug)]
pub(super) struct CallSpan {
    span: Span,
    /// That of the writing of the call's event.
    audit: Option<Span>,
    is_told: bool,
}

impl CallSpan {
    /// Has `span` say what is known of a call before its message is read.
    pub fn of(span: Span, call: &Call) -> Self {
        let caller = &call.caller;
        span.note(Attribute::Tenant(caller.tenant.as_ref().clone()));
        span.note(Attribute::Class(caller.class.name()));
        Self {
            span,
            audit: None,
            is_told: false,
        }
    }

    /// Makes it the current span of this thread, until what this returns is dropped.
    pub fn enter(&self) -> Entered {
        self.span.enter()
    }

    /// Takes note that the answer waits for the call's event to be written.
    pub fn audit(&mut self) {
        self.audit = self.span.child("audit", Kind::Internal);
    }

    /// Ends the span of a call, if there is one, whose caller is told this.
    pub fn end(this: Option<Self>, told: Told) {
        let Some(mut this) = this else {
            return;
        };
        if let Some(reason) = told.reason {
            this.span
                .note(Attribute::Reason(status::short_name(reason)));
        }
        this.tell(told.code);
    }

    fn tell(&mut self, code: Code) {
        self.is_told = true;
        self.span.note(Attribute::Code(code.into()));
        if is_failure(code) {
            self.span.fail();
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(Code::Cancelled);
        }
        // Before the call that it is a part of.
        self.audit = None;
    }
}

/// Whether a code says that the server failed. The others are about what the caller asks for (OpenTelemetry's semantic
/// conventions for gRPC).
fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}
