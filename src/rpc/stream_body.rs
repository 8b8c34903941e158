//! The request body and the response body of a streaming call. The response ends when the broker stops.
//! The request ends with the response, because HTTP/2 keeps a stream, and its connection, open until
//! both bodies have ended.

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

/// Ends a request's body when it is dropped.
pub(super) struct End {
    _dropped: oneshot::Sender<Infallible>,
}

/// Wraps the body of a request so that it also ends when the returned [`End`] is dropped.
pub(super) fn request_body_and_end(body: Body) -> (RequestBody, End) {
    let (end, ended) = oneshot::channel();
    let body = RequestBody {
        rest: Some((body, ended)),
    };
    (body, End { _dropped: end })
}

/// The body of a request: what the client sends.
pub(super) struct RequestBody {
    /// `None` after the end, because the HTTP/2 stream must be released even while this value lives.
    rest: Option<(Body, oneshot::Receiver<Infallible>)>,
}

impl HttpBody for RequestBody {
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

/// The body of a response: what the broker sends.
pub(super) struct ResponseBody {
    /// `None` after the end, so that the request ends too.
    rest: Option<(Body, End)>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl ResponseBody {
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

impl HttpBody for ResponseBody {
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
            // No message is ready, so the stream may end now.
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
