//! Shortens the messages of errors that tonic makes. tonic repeats parts of a request in them, such as the
//! name of an encoding that it doesn't know, or a symbol that reflection doesn't find. Clients and proxies
//! drop errors that don't fit into a few KiB (guarantees, section 2.5).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, Service},
};
use tower::Layer;

/// The longest message that is left as it is, in bytes on the wire. The messages of the broker's own errors are
/// shorter.
const LONGEST: usize = 768;

/// How many bytes of a longer message are kept. Each may take three on the wire.
const KEPT: usize = 250;

/// Shortens the message of an error, if it is too long.
pub(super) fn shorten(headers: &mut HeaderMap) {
    let Some(message) = headers.get_mut(Status::GRPC_MESSAGE) else {
        return;
    };
    if message.len() <= LONGEST {
        return;
    }
    let text = percent_decode(message.as_bytes()).decode_utf8_lossy();
    let fits = |(at, letter): &(usize, char)| at + letter.len_utf8() <= KEPT;
    let kept: String = text
        .char_indices()
        .take_while(fits)
        .map(|(_, c)| c)
        .collect();
    let kept = utf8_percent_encode(&kept, NON_ALPHANUMERIC).to_string() + "...";
    // Encoded text is a valid value.
    if let Ok(kept) = HeaderValue::try_from(kept) {
        *message = kept;
    }
}

/// Shortens the messages of a service's errors, also of one that ends a stream.
#[derive(Clone, Copy, Debug)]
pub struct ShortMessagesLayer;

impl<S> Layer<S> for ShortMessagesLayer {
    type Service = ShortMessages<S>;

    fn layer(&self, inner: S) -> ShortMessages<S> {
        ShortMessages(inner)
    }
}

/// A gRPC service that [`ShortMessagesLayer`] wraps.
#[derive(Clone, Debug)]
pub struct ShortMessages<S>(S);

impl<S, B> Service<Request<B>> for ShortMessages<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            shorten(response.headers_mut());
            Ok(response.map(|body| Body::new(ShortTrailers(body))))
        })
    }
}

/// A response's body, whose trailers have a short message.
struct ShortTrailers(Body);

impl HttpBody for ShortTrailers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            shorten(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortened(message: &str) -> (String, usize) {
        let mut headers = HeaderMap::new();
        Status::not_found(message).add_header(&mut headers).unwrap();
        shorten(&mut headers);
        let length = headers[Status::GRPC_MESSAGE].len();
        let status = Status::from_header_map(&headers).unwrap();
        (status.message().to_owned(), length)
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        for letter in ["x", "%", "\u{436}", "\u{20ac}", "\u{1f600}"] {
            let (short, length) = shortened(&letter.repeat(1_000));
            assert!(length <= LONGEST, "{length}");
            let kept = KEPT / letter.len() * letter.len();
            assert_eq!(short, letter.repeat(kept / letter.len()) + "...");
        }
    }

    #[test]
    fn a_message_of_common_length_stays() {
        let message = "no more than 100 % of {this}".repeat(8);
        assert_eq!(shortened(&message).0, message);
        assert_eq!(shortened("x").0, "x");
    }
}
