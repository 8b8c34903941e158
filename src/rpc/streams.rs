//! Ends server streams when the broker stops. Until then a stream lasts as long as its client wants,
//! which may be for ever.
//!
//! Before a stream ends, it delivers the messages that are ready. Then the client gets `UNAVAILABLE`,
//! which tells it to open the stream again at another broker. This includes health's `Watch`: its last
//! message is `NOT_SERVING`, and an `OK` after that would mean that there is nothing more to watch.

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::{Status, body::Body, codegen::Service};
use tower::Layer;

use super::{
    stopping::Stopping,
    stream_body::{ResponseBody, request_body_and_end},
};

/// Ends the server streams of a gRPC server when the broker stops. Passes other calls on unchanged.
#[derive(Clone, Debug)]
pub struct StreamsLayer {
    methods: Arc<HashSet<String>>,
    stopping: Stopping,
}

impl StreamsLayer {
    /// Makes a layer that ends the calls of `methods` when `stopping` is signalled. `methods` are
    /// paths, such as `/grpc.health.v1.Health/Watch`.
    #[must_use]
    pub fn new(methods: HashSet<String>, stopping: Stopping) -> Self {
        Self {
            methods: Arc::new(methods),
            stopping,
        }
    }
}

impl<S> Layer<S> for StreamsLayer {
    type Service = Streams<S>;

    fn layer(&self, inner: S) -> Streams<S> {
        Streams {
            inner,
            layer: self.clone(),
        }
    }
}

/// A gRPC server whose streams end when the broker stops.
#[derive(Clone, Debug)]
pub struct Streams<S> {
    inner: S,
    layer: StreamsLayer,
}

impl<S> Service<Request<Body>> for Streams<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Answering<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !self.layer.methods.contains(request.uri().path()) {
            return Either::Left(self.inner.call(request));
        }
        let (parts, body) = request.into_parts();
        let (body, end) = request_body_and_end(body);
        let request = Request::from_parts(parts, Body::new(body));
        let answering = self.inner.call(request);
        let mut stopping: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(self.layer.stopping.begun());
        Either::Right(Box::pin(async move {
            // The client may wait before it sends its first message.
            let response = tokio::select! {
                biased;
                response = answering => response?,
                () = &mut stopping => return Ok(ended().into_http()),
            };
            Ok(response.map(|body| Body::new(ResponseBody::new(body, stopping, end))))
        }))
    }
}

/// The future of a streaming call, until its response begins.
type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

/// Returns the status of a stream that the broker ended.
pub(super) fn ended() -> Status {
    Status::unavailable("the broker is stopping")
}
