//! The request body of a unary call, whose bytes are counted as they arrive. It is decoded when all of it is there.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use tonic::{Status, body::Body, codegen::Bytes};

use super::{admission::Permit, status};
use crate::{error::Error, types::SecretBytes};

/// gRPC's frame around a message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// The body of a request on its way here, whose bytes are counted in its call's permit.
pub(super) struct Metered {
    body: Body,
    permit: Arc<Permit>,
    limit: usize,
    /// How large the message may become when it is decompressed.
    unpacked: usize,
    read: usize,
    /// The frame around the message, as far as it was read.
    frame: [u8; FRAME],
}

/// The body of a request that is there.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Metered {
    /// Wraps the body of a request with `headers`, whose message has at most `limit` bytes.
    pub fn new(body: Body, headers: &HeaderMap, permit: Arc<Permit>, limit: usize) -> Self {
        let encoding = headers.get("grpc-encoding");
        let is_compressed = encoding.is_some_and(|encoding| encoding != "identity");
        Self {
            body,
            permit,
            limit,
            unpacked: if is_compressed { limit } else { 0 },
            read: 0,
            frame: [0; FRAME],
        }
    }

    /// Waits until all of the request has arrived, or so much that it is known to be too large: tonic says so.
    ///
    /// # Errors
    /// Returns the status of a request that is to be refused without being decoded, or whose client is gone.
    pub async fn arrived(mut self) -> Result<Arrived, Status> {
        // What is in many small pieces is copied: each could keep much more memory than its bytes.
        let (mut pieces, mut arrived) = (SecretBytes::default(), Arrived::default());
        while !self.body.is_end_stream() && !self.is_too_large() {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            let Some(frame) = frame else {
                // hyper says no more of a stream that was reset as one is that nobody needs any more.
                if self.body.is_end_stream() {
                    break;
                }
                return Err(Status::cancelled("the client has left"));
            };
            let data = match frame?.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    arrived.trailers = frame.into_trailers().ok();
                    continue;
                }
            };
            self.count(&data)
                .map_err(|error| status::from_error(&error))?;
            match pieces.is_empty() && self.body.is_end_stream() {
                true => arrived.data = data,
                false => pieces.extend_from_slice(&data),
            }
        }
        if !pieces.is_empty() {
            arrived.data = Bytes::from_owner(pieces);
        }
        Ok(arrived)
    }

    /// Returns how large the message is, if that is known by now.
    fn message(&self) -> Option<usize> {
        let [_compressed, length @ ..] = self.frame;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        (self.read >= FRAME).then_some(length)
    }

    fn is_too_large(&self) -> bool {
        self.message().is_some_and(|length| length > self.limit)
    }

    fn count(&mut self, data: &[u8]) -> Result<(), Error> {
        self.permit
            .hold(data.len() + std::mem::take(&mut self.unpacked))?;
        let missing = self.frame.get_mut(self.read..).unwrap_or_default();
        let known = missing.len().min(data.len());
        missing[..known].copy_from_slice(&data[..known]);
        self.read += data.len();
        // tonic would decode any number of messages, which may all be compressed, and give the handler the first one.
        match self.message() {
            Some(length) if self.read - FRAME > length => {
                Err(Error::invalid("request", "has more than one message"))
            }
            _ => Ok(()),
        }
    }
}

impl HttpBody for Arrived {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.data.is_empty() {
            false => Some(Frame::data(std::mem::take(&mut self.data))),
            true => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }
}
