//! The event of a call, which is written before its answer leaves.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use http::Response;
use tonic::body::Body;

use super::{figures::Measured, notes::Notes, status, told::Told, traced::CallSpan};
use crate::{
    access::{Caller, Denied, Rpc, Shown},
    audit::{Decision, Event, Kind, Known, Reservation, TrailShare, Written},
    error::{Error, StoreFailure},
    types::{Address, PeerCertificate},
};

/// The event of a call that isn't over, and the place that is reserved for it.
#[derive(Debug)]
pub(super) struct Pending {
    pub reservation: Reservation,
    pub rpc: Rpc,
    /// Who calls, if it is known.
    pub caller: Option<Arc<Caller>>,
    /// What the caller is known by, if there is a policy.
    pub known_by: Option<&'static str>,
    /// The name in the certificate of a caller that isn't known.
    pub shown: Option<String>,
    pub peer: Option<Address>,
    pub notes: Notes,
    /// Whether the policy denies the call, and why, if that isn't in the reason.
    pub is_denied: bool,
    pub why: Option<&'static str>,
}

impl Pending {
    /// Returns the event of a call that the policy denies. It is `None` if the denial is counted with others. `trail` is the
    /// share of the caller, if it is known and its tenant is served.
    pub fn denied(
        reservation: Reservation,
        trail: Option<&Arc<TrailShare>>,
        (rpc, denied): (Rpc, Denied),
        shown: Shown<'_>,
    ) -> Option<Self> {
        let why = match denied.error {
            Error::NotAllowed(why) | Error::UnknownCaller(why) => Some(why),
            _ => None,
        };
        let caller = denied.caller;
        let known = caller.as_ref().map(|caller| Known {
            tenant: Arc::clone(&caller.tenant),
            caller: caller.name.clone(),
        });
        let is_known = known.is_some();
        let what = (rpc.full_name(), status::reason(&denied.error));
        let reservation = reservation.of_denied(known, trail.map(|trail| &**trail), what)?;
        let certificate = shown.peer.and_then(|peer| peer.certificate.as_ref());
        Some(Self {
            reservation,
            rpc,
            caller,
            known_by: is_known.then(|| known_by(shown)),
            shown: certificate.filter(|_| !is_known).and_then(name_in),
            peer: shown.peer.and_then(|peer| peer.address),
            is_denied: true,
            why,
            notes: Notes::default(),
        })
    }

    /// Returns the notes, to be shared with the handler.
    pub fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// Returns the reservation and the event of a call whose caller is told this.
    fn end(self, told: Told) -> (Reservation, Event) {
        let noted = self.notes.take();
        let caller = self.caller.as_ref();
        // Who must not learn that something is there is told that it isn't.
        let is_denied = self.is_denied || noted.why.is_some() || told.is_denial();
        let name = caller.map(|caller| caller.name.clone());
        let event = Event {
            time: SystemTime::now(),
            kind: Kind::Call,
            tenant: caller.map(|caller| Arc::clone(&caller.tenant)),
            caller: name.filter(|name| !name.is_empty()),
            known_by: self.known_by,
            shown: self.shown,
            peer: self.peer,
            rpc: Some(self.rpc.full_name()),
            decision: Some(match is_denied {
                true => Decision::Denied(self.why.or(noted.why)),
                false => Decision::Allowed,
            }),
            code: status::name(told.code),
            reason: told.reason.map(status::short_name),
            rows: noted.rows,
            count: noted.count,
            session: noted.session,
            user: noted.user,
        };
        (self.reservation, event)
    }
}

/// The future of a call's answer, which isn't ready before the call's event is written.
pub struct Audited<W> {
    work: W,
    /// `None` if no event is to be written, or it was handed over.
    pending: Option<Pending>,
    /// What counts the call as what its caller is told. `None` if it was counted.
    measured: Option<Measured>,
    /// What the answer waits for.
    written: Option<(Written, Rpc, Told, Response<Body>)>,
    /// The span of the call, if it is traced.
    span: Option<CallSpan>,
}

impl<W> Audited<W> {
    /// Makes the future of the answer that `work` has, in the span of the call.
    pub(super) fn new(
        work: W,
        pending: Option<Pending>,
        measured: Option<Measured>,
        span: Option<CallSpan>,
    ) -> Self {
        Self {
            work,
            pending,
            measured,
            written: None,
            span,
        }
    }
}

impl<W> Future for Audited<W>
where
    W: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.written.is_none() {
            let entered = this.span.as_ref().map(CallSpan::enter);
            let Ok(response) = ready!(Pin::new(&mut this.work).poll(cx));
            drop(entered);
            let told = Told::by(&response);
            let Some(pending) = this.pending.take() else {
                this.end(told);
                return Poll::Ready(Ok(response));
            };
            if let Some(span) = &mut this.span {
                span.audit();
            }
            let rpc = pending.rpc;
            let (reservation, event) = pending.end(told);
            this.written = Some((reservation.take(event), rpc, told, response));
        }
        if let Some((written, ..)) = &mut this.written {
            let is_written = ready!(Pin::new(written).poll(cx));
            if let Some((_, rpc, told, response)) = this.written.take() {
                let (told, response) = match is_written {
                    Ok(()) => (told, response),
                    Err(error) => {
                        let instead = status::from_error(&withheld(rpc, error)).into_http();
                        (Told::by(&instead), instead)
                    }
                };
                this.end(told);
                return Poll::Ready(Ok(response));
            }
        }
        Poll::Pending
    }
}

impl<W> Audited<W> {
    /// Counts what the caller is told, and ends the span with it.
    fn end(&mut self, told: Told) {
        if let Some(mut measured) = self.measured.take() {
            measured.told(told);
        }
        CallSpan::end(self.span.take(), told);
    }
}

/// Returns what a caller is known by that shows this.
pub(super) fn known_by(shown: Shown<'_>) -> &'static str {
    let certificate = shown.peer.and_then(|peer| peer.certificate.as_ref());
    let is_spiffe = certificate.is_some_and(|certificate| certificate.spiffe_id.is_some());
    match (certificate.is_some(), is_spiffe, shown.authorizations > 0) {
        (true, true, false) => "spiffe",
        (true, true, true) => "spiffe+bearer",
        (true, false, false) => "certificate",
        (true, false, true) => "certificate+bearer",
        (false, ..) => "bearer",
    }
}

/// Returns the first name in a certificate.
fn name_in(certificate: &PeerCertificate) -> Option<String> {
    let spiffe = certificate.spiffe_id.as_ref().map(ToString::to_string);
    let others = || {
        certificate
            .uris
            .first()
            .or(certificate.dns_names.first())
            .cloned()
    };
    spiffe.or_else(others)
}

/// Returns what the caller is told instead of an answer that is withheld because of `error`.
fn withheld(rpc: Rpc, error: Error) -> Error {
    match rpc {
        // It may have been applied. Repeating it unseen could undo what others wrote since, or find taken what it took itself.
        Rpc::Store
        | Rpc::Delete
        | Rpc::LinkIdentity
        | Rpc::UnlinkIdentity
        | Rpc::Create
        | Rpc::Consume => Error::OutcomeUnknown(StoreFailure(error.to_string())),
        // These read, or may be repeated: a user is made or deleted once, and the record of a refresh knows each attempt.
        Rpc::Get
        | Rpc::GetAll
        | Rpc::DeleteUser
        | Rpc::GetLatestForUser
        | Rpc::ListUserSessions
        | Rpc::BeginRefresh
        | Rpc::RenewRefresh
        | Rpc::CompleteRefresh
        | Rpc::GetAccessToken
        | Rpc::GetAllAccessTokens
        | Rpc::ResolveUser
        | Rpc::GetUser
        | Rpc::ListIdentities => error,
    }
}

impl<W> Drop for Audited<W> {
    /// Nobody waits for the answer any more, and what was done was done.
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            let (reservation, event) = pending.end(Told::CANCELLED);
            reservation.leave(event);
        }
    }
}

impl<W> fmt::Debug for Audited<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audited").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, future::pending, time::Duration};

    use super::*;
    use crate::audit::{Audit, AuditOptions, Destination, Duty, Names};

    #[tokio::test]
    async fn a_call_whose_caller_is_gone_is_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::start(AuditOptions {
            duty: Duty::Required,
            destinations: vec![Destination::File {
                path: path.clone(),
                rotation: None,
            }],
            names: Arc::new(Names::new(&[1; 32])),
            sync: false,
            patience: Duration::from_secs(20),
            places: 1,
        });
        let audit = audit.unwrap();
        let tenant = "a:b".parse().unwrap();
        let caller = Arc::new(Caller::anybody(tenant));
        let pending_event = Pending {
            reservation: audit.reserve().unwrap().unwrap(),
            rpc: Rpc::Store,
            known_by: None,
            shown: None,
            peer: None,
            notes: Notes::new(&audit, &caller.tenant),
            caller: Some(caller),
            is_denied: false,
            why: None,
        };
        let never = Box::pin(pending::<Result<Response<Body>, Infallible>>());
        drop(Audited::new(never, Some(pending_event), None, None));
        audit.close(Duration::from_secs(20)).await;
        let text = fs::read_to_string(path).unwrap();
        let told = r#""rpc":"TokenBroker/Store","tenant":"a:b","decision":"allowed","code":"CANCELLED","prev""#;
        assert!(text.contains(told), "{text}");
    }
}
