//! The request body of a unary call, whose bytes are counted as they arrive.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body, codegen::Bytes};

use super::{admission::Permit, status};
use crate::error::Error;

/// gRPC's frame around a message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// The body of a request that holds a share in its call's permit.
pub(super) struct Metered {
    /// `None` after an error, because the HTTP/2 stream must be released even while this value lives.
    body: Option<Body>,
    permit: Arc<Permit>,
    limit: usize,
    /// How large the message may become when it is decompressed.
    unpacked: usize,
    read: usize,
}

impl Metered {
    /// Wraps the body of a request with `headers`, whose message has at most `limit` bytes.
    pub fn new(body: Body, headers: &HeaderMap, permit: Arc<Permit>, limit: usize) -> Self {
        let encoding = headers.get("grpc-encoding");
        let is_compressed = encoding.is_some_and(|encoding| encoding != "identity");
        Self {
            body: Some(body),
            permit,
            limit,
            unpacked: if is_compressed { limit } else { 0 },
            read: 0,
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Error> {
        self.permit
            .hold(bytes + std::mem::take(&mut self.unpacked))?;
        self.read += bytes;
        let limit = self.limit;
        // tonic refuses a message that is too large, but would read any number of messages to their end.
        if self.read > limit + FRAME && self.read - bytes > 0 {
            let (what, size) = ("the request", self.read);
            return Err(Error::TooLarge { what, size, limit });
        }
        Ok(())
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(error) = self.count(data.len())
        {
            self.body = None;
            return Poll::Ready(Some(Err(status::from_error(&error))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
