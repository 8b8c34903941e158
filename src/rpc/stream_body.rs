//! The two bodies of a streaming call. The answer ends when the broker stops; the question ends with
//! the answer, because HTTP/2 keeps a stream, and with it the connection, until both have ended.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;
use tonic::{Status, body::Body, codegen::Bytes};

use super::streams::ended;

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

/// Ends a question when it is dropped.
pub(super) struct End {
    _dropped: oneshot::Sender<Infallible>,
}

/// Wraps the body of a request, which goes on until it ends or [`End`] is dropped.
pub(super) fn question_and_end(body: Body) -> (Question, End) {
    let (end, ended) = oneshot::channel();
    let question = Question {
        rest: Some((body, ended)),
    };
    (question, End { _dropped: end })
}

/// What the client sends.
pub(super) struct Question {
    /// `None` after the end: the HTTP/2 stream must be let go then, whoever holds this.
    rest: Option<(Body, oneshot::Receiver<Infallible>)>,
}

impl HttpBody for Question {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Some((body, ended)) = &mut self.rest else {
            return Poll::Ready(None);
        };
        if Pin::new(ended).poll(cx).is_ready() {
            self.rest = None;
            return Poll::Ready(None);
        }
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.rest
            .as_ref()
            .is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

/// What the broker sends.
pub(super) struct Answer {
    /// `None` after the end, so that the question ends too.
    rest: Option<(Body, End)>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Answer {
    pub(super) fn new(
        body: Body,
        stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
        end: End,
    ) -> Self {
        Self {
            rest: Some((body, end)),
            stopping,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Some((body, _)) = &mut self.rest else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if !frame.is_trailers() => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(last) => {
                self.rest = None;
                Poll::Ready(last)
            }
            // Nothing is ready: now the stream may end.
            Poll::Pending => {
                ready!(self.stopping.as_mut().poll(cx));
                self.rest = None;
                let mut trailers = HeaderMap::new();
                let written = ended().add_header(&mut trailers);
                Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest
            .as_ref()
            .is_none_or(|(body, _)| body.is_end_stream())
    }
}
