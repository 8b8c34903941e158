//! The work for a call, until there is an answer.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::FutureExt;
use http::Response;
use tokio::{runtime::Handle, time::Sleep};
use tonic::body::Body;
use tracing::Instrument;

use super::{Call, observe, status, stream_limit};
use crate::{error::Error, store::Outstanding};

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The future of a call's answer, which is ready at the call's deadline at the latest.
///
/// If the caller is gone or the deadline has passed while the store still works for the call, the call stays
/// in flight until the store has answered. It begins nothing else.
pub struct Work {
    call: Call,
    /// `None` when it is done or was given up.
    answering: Option<Answering>,
    /// `None` until there is something to wait for.
    deadline: Option<Pin<Box<Sleep>>>,
    call_timeout: Duration,
}

impl Work {
    /// Makes the future of the answer to `call`, which `answering` works out. Then the caller has `call_timeout` to read the
    /// answer. If `answering` panics, the answer says that the broker failed, and no more: the message of a panic may quote
    /// anything.
    pub(super) fn new(
        call: Call,
        answering: impl Future<Output = Response<Body>> + Send + 'static,
        call_timeout: Duration,
    ) -> Self {
        let rpc = call.rpc;
        // What the work shares with others keeps its invariants when it is dropped half-way: callers that leave drop it, too.
        let answering = AssertUnwindSafe(answering).catch_unwind();
        let answering = answering.map(move |answered| {
            answered.unwrap_or_else(|_| {
                observe::panicked(rpc);
                status::panicked().into_http()
            })
        });
        let answering = answering.instrument(call.scope.clone());
        Self {
            answering: Some(Box::pin(call.outstanding.of(answering))),
            deadline: None,
            call,
            call_timeout,
        }
    }

    /// Gives the work up, but not before the store has answered.
    fn give_up(&mut self) {
        let Some(answering) = self.answering.take() else {
            return;
        };
        let outstanding = self.call.outstanding.clone();
        outstanding.abandon();
        // Outside of a runtime, the process is about to end.
        if outstanding.any()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(Remains {
                answering,
                outstanding,
            });
        }
    }
}

impl Future for Work {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let permit = &this.call.permit;
        if let Some(answering) = &mut this.answering
            && let Poll::Ready(response) = permit.working(|| answering.as_mut().poll(cx))
        {
            self.answering = None;
            stream_limit::ends_within(self.call_timeout);
            return Poll::Ready(Ok(response));
        }
        let end = self.call.deadline;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(end.sleep()));
        ready!(deadline.as_mut().poll(cx));
        self.give_up();
        let error = Error::DeadlineExceeded;
        observe::ended(&self.call, Err(&error));
        Poll::Ready(Ok(status::from_error(&error).into_http()))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.give_up();
        self.call.permit.note_end();
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("call", &self.call).finish()
    }
}

/// What remains of a call that was given up. It ends when the store has answered.
struct Remains {
    answering: Answering,
    outstanding: Outstanding,
}

impl Future for Remains {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.answering.as_mut().poll(cx) {
            Poll::Pending if self.outstanding.any() => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }
}
