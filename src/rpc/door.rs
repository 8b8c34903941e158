//! The front door: the layer around a service that makes a [`Call`] of each request, and judges, admits, bounds and
//! observes it.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{Either, Ready, ready};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use tokio::time::Instant;
use tonic::{body::Body, codegen::Service};
use tower::Layer;
use tracing::Span;

use super::{
    Admission, Call, CallFigures, TenantShare,
    admission::{CallerShare, Share},
    answer,
    audited::{Audited, Pending, known_by},
    deadline::Deadline,
    figures::Measured,
    notes::Notes,
    observe,
    request_body::Metered,
    status,
    traced::CallSpan,
    work::Work,
};
use crate::{
    access::{Caller, Class, Denied, Guard, Rpc, Shown},
    audit::{Audit, Reservation},
    error::Error,
    store::Outstanding,
    traces::Traces,
    types::{Peer, Tenant},
};

/// Why the call of a caller is denied whose tenant this broker doesn't serve.
const NOT_SERVED: &str = "the tenant isn't served";

/// The entrance for calls. Clones share their state.
///
/// A call is judged by the policy, and admitted or refused, before its message is read. Its deadline bounds the
/// reading of the message and the work of the service. Then the caller has `call_timeout` to read the answer.
#[derive(Clone, Debug)]
pub struct FrontDoor(Arc<Door>);

/// What a tenant's calls pass through at the front door.
#[derive(Clone, Debug)]
pub struct TenantDoor {
    /// What they may use.
    pub share: Arc<TenantShare>,
    /// What counts them.
    pub figures: Arc<CallFigures>,
    /// What names the tenant in the log lines of its work, if the broker has several.
    pub scope: Span,
}

/// The doors of all tenants.
pub type TenantDoors = HashMap<Tenant, TenantDoor>;

#[derive(Debug)]
struct Door {
    service: &'static str,
    guard: Guard,
    audit: Audit,
    traces: Traces,
    /// The figures of calls without a caller.
    of_nobody: Arc<CallFigures>,
    admission: Admission,
    tenants: Arc<TenantDoors>,
    call_timeout: Duration,
    message_limit: usize,
}

impl FrontDoor {
    /// Makes the front door of `service`, a full name, for the calls that `guard` lets in and `admission` admits, each
    /// through the door of its tenant. What is decided and done is told to `audit`, and `traces` has spans of it. `of_nobody` counts calls without a caller. A call may take at most `call_timeout`,
    /// and its message has at most `message_limit` bytes.
    #[must_use]
    pub fn new(
        service: &'static str,
        (guard, audit, traces): (Guard, Audit, Traces),
        of_nobody: Arc<CallFigures>,
        (admission, tenants): (Admission, Arc<TenantDoors>),
        call_timeout: Duration,
        message_limit: usize,
    ) -> Self {
        Self(Arc::new(Door {
            service,
            guard,
            audit,
            traces,
            of_nobody,
            admission,
            tenants,
            call_timeout,
            message_limit,
        }))
    }
}

/// What becomes of a request.
struct Judged {
    call: Result<Call, Error>,
    /// The event, if there is to be one.
    pending: Option<Pending>,
    /// What will count what the caller is told. `None` if that is done.
    measured: Option<Measured>,
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
    /// Makes a call of a request, if the policy allows it, it is admitted, and there is a place for its event.
    fn call(&self, rpc: Rpc, request: &Request<Body>) -> Judged {
        let started = Instant::now();
        let shown = shown(request);
        let share = self.admission.share_of(request.extensions());
        // Before a place is taken: who isn't a caller takes none from those who are.
        let (caller, tenant) = match self.judge(rpc, shown) {
            Ok(judged) => judged,
            Err(denied) => return self.denied(rpc, denied, shown, &share),
        };
        share.note_let_in();
        let own = tenant.share.of_caller(&caller);
        let trail = own.as_deref().map(CallerShare::trail);
        if let Some(own) = &own {
            share.note_caller(own);
        }
        let admitted = share.admit(&tenant.share, own.clone());
        // After a place in flight is taken: who has no more of those takes none here either.
        let admitted = admitted.and_then(|permit| {
            let reservation = self.audit.reserve_for(trail)?;
            Ok((permit, reservation))
        });
        observe::arrived(rpc.name(), admitted.as_ref().map(drop));
        let (permit, reservation) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                // It did nothing, and was near no token. It has to cost as little as possible.
                share.note_refused(own.as_deref());
                tenant.figures.refused(rpc, caller.class, &error);
                return Judged {
                    call: Err(error),
                    pending: None,
                    measured: None,
                };
            }
        };
        let pending = reservation.map(|reservation| self.pending(reservation, rpc, &caller, shown));
        let deadline = Deadline::of_call(started, request.headers(), self.call_timeout);
        let measured = tenant.figures.begun(rpc, caller.class, started);
        let call = Call {
            rpc: rpc.name(),
            caller,
            scope: tenant.scope.clone(),
            notes: pending.as_ref().map(Pending::notes).unwrap_or_default(),
            started,
            deadline,
            permit,
            outstanding: Outstanding::until(deadline.moment()),
        };
        Judged {
            call: Ok(call),
            pending,
            measured: Some(measured),
        }
    }

    /// Returns what becomes of a call that the policy denies. Its event is there, unless it is counted with others.
    fn denied(&self, rpc: Rpc, denied: Denied, shown: Shown<'_>, share: &Share) -> Judged {
        let Denied { error, caller } = denied;
        let known = caller.as_deref();
        let tenant = known.and_then(|caller| self.tenants.get(&*caller.tenant));
        let own = known.and_then(|caller| tenant?.share.of_caller(caller));
        if let Some(own) = &own {
            share.note_caller(own);
        }
        share.note_refused(own.as_deref());
        let figures = tenant.map_or(&self.of_nobody, |tenant| &tenant.figures);
        let class = known.map_or(Class::None, |caller| caller.class);
        let trail = own.as_deref().map(CallerShare::trail);
        // What is only counted needs no place for longer than this. While no events can be written, it is refused all the same.
        let (error, reservation) = match self.audit.reserve_for(trail) {
            Ok(reservation) => (error, reservation),
            Err(error) => (error, None),
        };
        observe::arrived(rpc.name(), Err(&error));
        let pending = reservation.and_then(|reservation| {
            let denied = Denied {
                error: error.clone(),
                caller,
            };
            Pending::denied(reservation, trail, (rpc, denied), shown)
        });
        let measured = pending.as_ref().map(|_| figures.refusing(rpc, class));
        if measured.is_none() {
            figures.refused(rpc, class, &error);
        }
        Judged {
            call: Err(error),
            pending,
            measured,
        }
    }

    /// Returns who calls and its tenant's door, if the policy allows it this RPC and its tenant is served.
    fn judge(&self, rpc: Rpc, shown: Shown<'_>) -> Result<(Arc<Caller>, &TenantDoor), Denied> {
        let caller = self.guard.judge(rpc, shown)?;
        match self.tenants.get(&*caller.tenant) {
            Some(tenant) => Ok((caller, tenant)),
            None => Err(Denied {
                error: Error::NotAllowed(NOT_SERVED),
                caller: Some(caller),
            }),
        }
    }

    /// Returns the event of a call that the policy allows.
    fn pending(
        &self,
        reservation: Reservation,
        rpc: Rpc,
        caller: &Arc<Caller>,
        shown: Shown<'_>,
    ) -> Pending {
        Pending {
            reservation,
            rpc,
            // Without a policy nobody looks at what a call shows.
            known_by: (!caller.name.is_empty()).then(|| known_by(shown)),
            shown: None,
            peer: shown.peer.and_then(|peer| peer.address),
            is_denied: false,
            why: None,
            notes: Notes::new(&self.audit, &caller.tenant),
            caller: Some(Arc::clone(caller)),
        }
    }
}

/// Returns what a request shows of its caller.
fn shown(request: &Request<Body>) -> Shown<'_> {
    let mut authorizations = request.headers().get_all(AUTHORIZATION).iter();
    let authorization = authorizations.next().map(HeaderValue::as_bytes);
    Shown {
        peer: request.extensions().get::<Arc<Peer>>().map(|peer| &**peer),
        authorizations: usize::from(authorization.is_some()) + authorizations.count(),
        authorization,
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
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        Either<S::Future, Audited<Either<Ready<Result<Response<Body>, Infallible>>, Work>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(rpc) = rpc_at(self.door.service, request.uri().path()) else {
            self.door.of_nobody.unknown();
            let share = self.door.admission.share_of(request.extensions());
            share.note_refused(None);
            // The service says that there is no such method.
            return Either::Left(self.inner.call(request));
        };
        let Judged {
            call,
            pending,
            measured,
        } = self.door.call(rpc, &request);
        let call = match call {
            Ok(call) => call,
            Err(refused) => {
                let refusal = status::from_error(&refused).into_http();
                let refusal = Either::Left(ready(Ok(refusal)));
                return Either::Right(Audited::new(refusal, pending, measured, None));
            }
        };
        let span = self
            .door
            .traces
            .begin(self.door.service, call.rpc, request.headers());
        let span = span.map(|span| CallSpan::of(span, &call));
        request.extensions_mut().insert(call.clone());
        let (permit, limit) = (Arc::clone(&call.permit), self.door.message_limit);
        let (parts, body) = request.into_parts();
        let body = Metered::new(body, &parts.headers, Arc::clone(&permit), limit);
        // The one that is ready is used, and not its clone.
        let inner = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, inner);
        let answering = async move {
            let response = match body.arrived().await {
                Ok(body) => {
                    // Before the message is decoded, which may cost more than the call. Nobody waits for a client in its turn.
                    permit.turn().await;
                    let request = Request::from_parts(parts, Body::new(body));
                    let Ok(response) = inner.call(request).await;
                    response
                }
                Err(refused) => refused.into_http(),
            };
            answer::counted(response, permit).await
        };
        let work = Work::new(call, answering, self.door.call_timeout);
        Either::Right(Audited::new(Either::Right(work), pending, measured, span))
    }
}
