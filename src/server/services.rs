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

use crate::{
    proto::v1::{
        access_tokens_server::SERVICE_NAME as ACCESS_TOKENS,
        identities_server::SERVICE_NAME as IDENTITIES,
        pending_authorizations_server::SERVICE_NAME as PENDING_AUTHORIZATIONS,
        token_broker_server::SERVICE_NAME as TOKEN_BROKER,
    },
    rpc::{Paced, Streams},
};

/// The broker's own services and all others.
///
/// The router would make copies and boxes for each call, which costs a tenth of it. So calls of the broker's own services
/// don't go through the router.
#[derive(Clone)]
pub(super) struct Services<B, A, I, P> {
    /// The service `TokenBroker`. It has no streams.
    pub broker: B,
    /// The service `AccessTokens`. It has no streams.
    pub access: A,
    /// The service `Identities`. It has no streams.
    pub identities: I,
    /// The service `PendingAuthorizations`. It has no streams.
    pub authorizations: P,
    /// The services for probes and tools.
    pub others: Paced<Streams<Routes>>,
}

impl<B, A, I, P> Service<Request<Body>> for Services<B, A, I, P>
where
    B: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    A: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    I: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    P: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        B::Future,
        Either<
            A::Future,
            Either<
                I::Future,
                Either<P::Future, <Paced<Streams<Routes>> as Service<Request<Body>>>::Future>,
            >,
        >,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(self.others.poll_ready(cx))?;
        ready!(self.access.poll_ready(cx))?;
        ready!(self.identities.poll_ready(cx))?;
        ready!(self.authorizations.poll_ready(cx))?;
        self.broker.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match service(request.uri().path()) {
            Some(TOKEN_BROKER) => Either::Left(self.broker.call(request)),
            Some(ACCESS_TOKENS) => Either::Right(Either::Left(self.access.call(request))),
            Some(IDENTITIES) => {
                Either::Right(Either::Right(Either::Left(self.identities.call(request))))
            }
            Some(PENDING_AUTHORIZATIONS) => {
                let call = Either::Left(self.authorizations.call(request));
                Either::Right(Either::Right(Either::Right(call)))
            }
            _ => {
                let call = Either::Right(self.others.call(request));
                Either::Right(Either::Right(Either::Right(call)))
            }
        }
    }
}

/// Returns the name of the service that a path leads to.
fn service(path: &str) -> Option<&str> {
    Some(path.strip_prefix('/')?.split_once('/')?.0)
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
