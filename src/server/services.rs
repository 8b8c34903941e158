//! Finding the service that a call is for.

use std::{
    convert::Infallible,
    future::Future,
    task::{Context, Poll, ready},
};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::{body::Body, service::Routes};
use tower::Service;

use crate::{proto::v1::token_broker_server::SERVICE_NAME, rpc::Streams};

/// The broker's own service and all others.
///
/// The router would make copies and boxes for each call, which costs a tenth of it. So calls of the broker's own service
/// don't go through the router.
#[derive(Clone)]
pub(super) struct Services<B> {
    /// The service `TokenBroker`. It has no streams.
    pub broker: B,
    /// The services for probes and tools.
    pub others: Streams<Routes>,
}

impl<B> Service<Request<Body>> for Services<B>
where
    B: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<B::Future, <Streams<Routes> as Service<Request<Body>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(self.others.poll_ready(cx))?;
        self.broker.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let method = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(SERVICE_NAME));
        if method.is_some_and(|method| method.starts_with('/')) {
            Either::Left(self.broker.call(request))
        } else {
            Either::Right(self.others.call(request))
        }
    }
}

/// A service that connections share: each call has a copy of it.
pub(super) trait Shared:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Shared for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Future + Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}
