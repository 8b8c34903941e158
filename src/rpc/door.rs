//! The front door: the layer around a service that makes a [`Call`] of each request, and judges, admits, bounds and
//! observes it.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{Either, Ready, ready};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use tokio::time::Instant;
use tonic::{body::Body, codegen::Service, transport::server::TcpConnectInfo};
use tower::Layer;

use super::{
    Admission, Call, CallFigures, answer, deadline::Deadline, figures::Measured, observe,
    request_body::Metered, status, work::Work,
};
use crate::{
    access::{Caller, Class, Denied, Guard, Rpc, Shown},
    error::Error,
    store::Outstanding,
    types::Peer,
};

/// The entrance for calls. Clones share their state.
///
/// A call is judged by the policy, and admitted or refused, before its message is read. Its deadline bounds the reading of the message
/// and the work of the service. Then the caller has `call_timeout` to read the answer.
#[derive(Clone, Debug)]
pub struct FrontDoor(Arc<Door>);

#[derive(Debug)]
struct Door {
    service: &'static str,
    guard: Guard,
    figures: Arc<CallFigures>,
    admission: Admission,
    call_timeout: Duration,
    message_limit: usize,
}

impl FrontDoor {
    /// Makes the front door of `service`, a full name, for the calls that `guard` lets in and `admission` admits, and that
    /// `figures` count. A call may take at most `call_timeout`, and its message has at most `message_limit` bytes.
    #[must_use]
    pub fn new(
        service: &'static str,
        guard: Guard,
        figures: Arc<CallFigures>,
        admission: Admission,
        call_timeout: Duration,
        message_limit: usize,
    ) -> Self {
        Self(Arc::new(Door {
            service,
            guard,
            figures,
            admission,
            call_timeout,
            message_limit,
        }))
    }
}

/// Returns the RPC of `service`, a full name, that `path` leads to.
fn rpc_at(service: &str, path: &str) -> Option<Rpc> {
    let path = path.strip_prefix('/')?.strip_prefix(service)?;
    let name = path.strip_prefix('/')?;
    let (_, service) = service.rsplit_once('.')?;
    let mut all = Rpc::ALL.iter().copied();
    all.find(|rpc| rpc.name() == name && rpc.service() == service)
}

impl Door {
    /// Makes a call of a request, if the policy allows it and it is admitted.
    fn call(&self, rpc: Rpc, request: &Request<Body>) -> Result<(Call, Measured), Error> {
        let started = Instant::now();
        let peer = request.extensions().get::<TcpConnectInfo>();
        // Before a place is taken: who isn't a caller takes none from those who are.
        let (class, caller) = match self.judge(rpc, request) {
            Ok(caller) => (caller.class, Ok(caller)),
            Err(denied) => {
                let class = denied.caller.map_or(Class::None, |caller| caller.class);
                (class, Err(denied.error))
            }
        };
        let admitted = caller.and_then(|caller| {
            let share = self.admission.share_of(request.extensions());
            share.admit().map(|permit| (caller, permit))
        });
        observe::arrived(rpc.name(), admitted.as_ref().map(drop));
        if let Err(error) = &admitted {
            self.figures.refused(rpc, class, error);
        }
        let (caller, permit) = admitted?;
        let deadline = Deadline::of_call(started, request.headers(), self.call_timeout);
        let call = Call {
            rpc: rpc.name(),
            caller,
            peer: peer.and_then(TcpConnectInfo::remote_addr),
            started,
            deadline,
            permit,
            outstanding: Outstanding::until(deadline.moment()),
        };
        Ok((call, self.figures.begun(rpc, class, started)))
    }

    /// Returns who calls, if the policy allows it this RPC.
    fn judge(&self, rpc: Rpc, request: &Request<Body>) -> Result<Arc<Caller>, Denied> {
        let mut authorizations = request.headers().get_all(AUTHORIZATION).iter();
        let authorization = authorizations.next().map(HeaderValue::as_bytes);
        let shown = Shown {
            peer: request.extensions().get::<Arc<Peer>>().map(|peer| &**peer),
            authorizations: usize::from(authorization.is_some()) + authorizations.count(),
            authorization,
        };
        self.guard.judge(rpc, shown)
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
        let Some(rpc) = rpc_at(self.door.service, request.uri().path()) else {
            self.door.figures.unknown();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto::v1::FILE_DESCRIPTOR_SET;

    /// The RPCs are those of the proto, and each is found, so that no call passes the door unjudged.
    #[test]
    fn each_rpc_of_the_proto_is_judged() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut found = BTreeSet::new();
        for file in set
            .file
            .iter()
            .filter(|file| file.package() == "tokenbroker.v1")
        {
            for service in &file.service {
                let full = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    let path = format!("/{full}/{}", method.name());
                    let rpc = rpc_at(&full, &path).unwrap_or_else(|| panic!("{path}"));
                    let name = format!("{}/{}", service.name(), method.name());
                    assert_eq!(rpc.full_name(), name);
                    found.insert(rpc);
                }
            }
        }
        assert_eq!(found, Rpc::ALL.iter().copied().collect());
    }

    #[test]
    fn other_paths_lead_nowhere() {
        let service = "tokenbroker.v1.TokenBroker";
        for path in [
            "",
            "/",
            "/tokenbroker.v1.TokenBroker",
            "/tokenbroker.v1.TokenBroker/",
            "/tokenbroker.v1.TokenBroker/get",
            "/tokenbroker.v1.TokenBroker/Get/",
            "/tokenbroker.v1.TokenBroker//Get",
            "/tokenbroker.v1.TokenBroker/GetAccessToken",
            "/tokenbroker.v1.AccessTokens/Get",
        ] {
            assert_eq!(rpc_at(service, path), None, "{path}");
        }
    }
}
