//! Translates the errors of calls that tonic refuses before a handler runs. Clients are promised certain
//! codes and details (guarantees, section 2.5), but tonic answers `OUT_OF_RANGE` for a message that is too
//! large and `INTERNAL` for a message that can't be decoded, both without details.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use tonic::{Code, Status, body::Body, codegen::Service};
use tower::Layer;

use super::{short_message::shorten, status};
use crate::error::Error;

/// Gives the promised form to the errors of calls that tonic refuses.
#[derive(Clone, Copy, Debug)]
pub struct RefusalLayer {
    /// The maximum size of a message, in bytes. The error's text names it.
    pub message_limit: usize,
}

impl<S> Layer<S> for RefusalLayer {
    type Service = Refusals<S>;

    fn layer(&self, inner: S) -> Refusals<S> {
        Refusals {
            inner,
            message_limit: self.message_limit,
        }
    }
}

/// A gRPC service that [`RefusalLayer`] wraps.
#[derive(Clone, Debug)]
pub struct Refusals<S> {
    inner: S,
    message_limit: usize,
}

impl<S, B> Service<Request<B>> for Refusals<S>
where
    S: Service<Request<B>, Response = Response<Body>, Future: Unpin>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Translated<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Translated {
            answer: self.inner.call(request),
            message_limit: self.message_limit,
        }
    }
}

/// An answer whose error is translated.
#[derive(Debug)]
pub struct Translated<F> {
    answer: F,
    message_limit: usize,
}

impl<F, E> Future for Translated<F>
where
    F: Future<Output = Result<Response<Body>, E>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.map(|response| translated(response, self.message_limit)))
    }
}

/// Translates tonic's errors, and shortens the message of one that has no translation. Returns any other
/// response unchanged. Handlers add details to each status, and tonic adds none, which tells the two apart.
fn translated(mut response: Response<Body>, limit: usize) -> Response<Body> {
    let headers = response.headers();
    if !headers.contains_key(Status::GRPC_STATUS)
        || headers.contains_key(Status::GRPC_STATUS_DETAILS)
    {
        return response;
    }
    let Some(refusal) = Status::from_header_map(headers) else {
        return response;
    };
    let error = match refusal.code() {
        Code::OutOfRange => too_large(refusal.message(), limit),
        // The message was compressed. How large it would have become isn't known.
        Code::ResourceExhausted => too_large("", limit),
        Code::Internal => undecodable(refusal.message()),
        _ => {
            shorten(response.headers_mut());
            return response;
        }
    };
    status::from_error(&error).into_http()
}

fn too_large(message: &str, limit: usize) -> Error {
    let size = message
        .split_whitespace()
        .find_map(|word| word.parse().ok());
    Error::TooLarge {
        what: "the message",
        size: size.unwrap_or(limit + 1),
        limit,
    }
}

/// Returns the error of a message that can't be decoded. prost names the field, as in
/// "... StoreRequest.session_id: invalid string value: ...".
fn undecodable(message: &str) -> Error {
    let mut parts = message.split(": ");
    let field = parts.find_map(|part| {
        let (message, field) = part.split_once('.')?;
        let named = |name: &str| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        (named(message) && !field.is_empty()).then(|| field.to_owned())
    });
    Error::invalid(
        field.unwrap_or_else(|| "request".to_owned()),
        "is not a valid protobuf encoding",
    )
}
