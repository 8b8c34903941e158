//! How long an HTTP/2 stream may take from some moment on.
//!
//! A stream whose client doesn't read waits inside of HTTP/2, where neither service nor body is asked for
//! anything. So the task of the stream is bounded from outside.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

thread_local! {
    /// The end of the stream that is being polled, if it was set during this poll.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Gives the present stream `span` to end. Otherwise it will be reset.
pub(super) fn ends_within(span: Duration) {
    END.set(Some(Instant::now() + span));
}

/// The task of a stream, which ends when the limit that was set for it is over.
pub struct Limited<F> {
    stream: Pin<Box<F>>,
    end: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Limited<F> {
    /// Wraps the task of a stream. There is no limit before one is set.
    pub fn new(stream: F) -> Self {
        Self {
            stream: Box::pin(stream),
            end: None,
        }
    }
}

impl<F: Future<Output = ()>> Future for Limited<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        END.set(None);
        if self.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Some(end) = END.take() {
            self.end = Some(Box::pin(sleep_until(end)));
        }
        match &mut self.end {
            Some(end) => end.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
