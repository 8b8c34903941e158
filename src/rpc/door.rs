//! The front door: the layer around a service that makes a [`Call`] of each request, and admits, bounds and
//! observes it.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{Either, Ready, ready};
use http::{Request, Response};
use tokio::time::Instant;
use tonic::{body::Body, codegen::Service, transport::server::TcpConnectInfo};
use tower::Layer;

use super::{
    Admission, Call, CallFigures, CallerClass, answer, deadline::Deadline, figures::Measured,
    observe, request_body::Metered, status, work::Work,
};
use crate::{error::Error, store::Outstanding, types::Tenant};

/// The entrance for calls. Clones share their state.
///
/// A call is admitted or refused before its message is read. Its deadline bounds the reading of the message
/// and the work of the service. Then the caller has `call_timeout` to read the answer.
#[derive(Clone, Debug)]
pub struct FrontDoor(Arc<Door>);

#[derive(Debug)]
struct Door {
    figures: Arc<CallFigures>,
    admission: Admission,
    tenant: Arc<Tenant>,
    call_timeout: Duration,
    message_limit: usize,
}

impl FrontDoor {
    /// Makes the front door of `tenant` for the calls that `admission` admits, to the
    /// service of `figures`, which count them. A call may take at most `call_timeout`, and its message has at most `message_limit` bytes.
    #[must_use]
    pub fn new(
        figures: Arc<CallFigures>,
        admission: Admission,
        tenant: Tenant,
        call_timeout: Duration,
        message_limit: usize,
    ) -> Self {
        Self(Arc::new(Door {
            figures,
            admission,
            tenant: Arc::new(tenant),
            call_timeout,
            message_limit,
        }))
    }
}

impl Door {
    /// Makes a call of a request to the method with this position and name, if it is admitted.
    fn call(
        &self,
        (at, rpc): (usize, &'static str),
        request: &Request<Body>,
    ) -> Result<(Call, Measured), Error> {
        let started = Instant::now();
        let peer = request.extensions().get::<TcpConnectInfo>();
        let admitted = self.admission.share_of(request.extensions()).admit();
        let class = CallerClass::of(request.extensions());
        observe::arrived(rpc, admitted.as_ref().map(drop));
        if let Err(error) = &admitted {
            self.figures.refused(at, class, error);
        }
        let deadline = Deadline::of_call(started, request.headers(), self.call_timeout);
        let call = Call {
            rpc,
            tenant: Arc::clone(&self.tenant),
            peer: peer.and_then(TcpConnectInfo::remote_addr),
            started,
            deadline,
            permit: admitted?,
            outstanding: Outstanding::until(deadline.moment()),
        };
        Ok((call, self.figures.begun(at, class, started)))
    }
}

impl<S> Layer<S> for FrontDoor {
    type Service = Entrance<S>;

    fn layer(&self, inner: S) -> Entrance<S> {
        Entrance {
            inner,
            door: Arc::clone(&self.0),
        }
    }
}

/// A service behind its [`FrontDoor`].
#[derive(Clone, Debug)]
pub struct Entrance<S> {
    inner: S,
    door: Arc<Door>,
}

impl<S> Service<Request<Body>> for Entrance<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Either<Ready<Result<Response<Body>, Infallible>>, Work>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(rpc) = self.door.figures.method(request.uri().path()) else {
            let class = CallerClass::of(request.extensions());
            self.door.figures.unknown(class);
            // The service says that there is no such method.
            return Either::Left(self.inner.call(request));
        };
        let (call, measured) = match self.door.call(rpc, &request) {
            Ok(begun) => begun,
            Err(refused) => {
                let refusal = status::from_error(&refused).into_http();
                return Either::Right(Either::Left(ready(Ok(refusal))));
            }
        };
        request.extensions_mut().insert(call.clone());
        let (permit, limit) = (Arc::clone(&call.permit), self.door.message_limit);
        let (parts, body) = request.into_parts();
        let body = Metered::new(body, &parts.headers, Arc::clone(&permit), limit);
        let answering = self.inner.call(Request::from_parts(parts, Body::new(body)));
        let answering = async move {
            let Ok(response) = answering.await;
            answer::counted(response, permit).await
        };
        let work = Work::new(call, measured, answering, self.door.call_timeout);
        Either::Right(Either::Right(work))
    }
}
