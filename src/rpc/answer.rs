//! The answer to a unary call, on its way out of the process.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame};
use tokio::sync::oneshot;
use tonic::{Status, body::Body, codegen::Bytes};

use super::{admission::Permit, status};

/// An answer up to this size is handed to HTTP/2 whole. It is less than a client's smallest usual window for
/// a stream, so that it leaves at once unless the whole connection is stuck.
const SMALL: usize = 16 * 1024;
/// The size of the pieces of a larger answer.
const PIECE: usize = 64 * 1024;

/// Encodes the answer, and lets its bytes hold a share in the permit until they have left the process. If
/// there is no room for it in memory, the answer is a refusal.
pub(super) async fn counted(response: Response<Body>, permit: Arc<Permit>) -> Response<Body> {
    let (parts, mut body) = response.into_parts();
    let (mut data, mut trailers) = (Bytes::new(), None);
    while let Some(frame) = next(&mut body).await {
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) if data.is_empty() => data = bytes,
            // A unary answer is one message.
            Ok(Ok(_)) => {}
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(error) => return error.into_http(),
        }
    }
    if let Err(error) = permit.answered(data.len()) {
        return status::from_error(&error).into_http();
    }
    let answer = Answer::new(data, trailers, permit);
    Response::from_parts(parts, Body::new(answer))
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// The body of a response.
struct Answer {
    data: Bytes,
    trailers: Option<HeaderMap>,
    /// Ready when the data of a larger answer has left the process. As long as the trailers wait for that,
    /// the stream can still be given up.
    left: Option<oneshot::Receiver<Infallible>>,
    _permit: Arc<Permit>,
}

/// Bytes that are on their way out of the process.
struct Leaving {
    data: Bytes,
    _permit: Arc<Permit>,
    _left: Option<oneshot::Sender<Infallible>>,
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Answer {
    fn new(data: Bytes, trailers: Option<HeaderMap>, permit: Arc<Permit>) -> Self {
        let (leaves, left) = if data.len() > SMALL {
            let (leaves, left) = oneshot::channel();
            (Some(leaves), Some(left))
        } else {
            (None, None)
        };
        let data = if data.is_empty() {
            data
        } else {
            Bytes::from_owner(Leaving {
                data,
                _permit: Arc::clone(&permit),
                _left: leaves,
            })
        };
        Self {
            data,
            trailers,
            left,
            _permit: permit,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.data.is_empty() {
            let piece = self.data.len().min(PIECE);
            let piece = self.data.split_to(piece);
            if self.data.is_empty() {
                // An empty part would keep the whole alive.
                self.data = Bytes::new();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(left) = &mut self.left {
            ready!(Pin::new(left).poll(cx)).ok();
            self.left = None;
        }
        Poll::Ready(self.trailers.take().map(|t| Ok(Frame::trailers(t))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }
}
