//! A call as a value, and the front door that makes it.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{admission::Admission, deadline::Deadline, observe, status};
use crate::{error::Error, types::Tenant};

/// What the broker knows about a call before it reads the message.
///
/// The peer's certificate will be a field next to `peer`. From these two, the callers' policy will
/// derive the caller, a field next to `tenant`. The tenant will then come from that caller.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name of the method, such as `GetAll`.
    pub rpc: &'static str,
    /// The tenant whose data the call is about.
    pub tenant: Arc<Tenant>,
    /// The address of the client, or `None` if the connection isn't TCP.
    pub peer: Option<SocketAddr>,
    /// When the call arrived.
    pub started: Instant,
    /// When the call ends at the latest.
    pub deadline: Deadline,
}

/// The entrance for calls: admits, bounds and observes each call. Clones share their state.
#[derive(Clone, Debug)]
pub struct FrontDoor {
    admission: Admission,
    tenant: Arc<Tenant>,
    call_timeout: Duration,
}

impl FrontDoor {
    /// Makes the front door of `tenant` for the calls that `admission` admits. A unary call may take
    /// at most `call_timeout`.
    #[must_use]
    pub fn new(admission: Admission, tenant: Tenant, call_timeout: Duration) -> Self {
        Self {
            admission,
            tenant: Arc::new(tenant),
            call_timeout,
        }
    }

    /// Runs a unary call: admits it, gives `handle` until the deadline to answer the message, and
    /// writes the call's line to the log.
    ///
    /// # Errors
    /// Returns the status of an error if `handle` fails, the call isn't admitted, or its deadline
    /// passes.
    pub async fn unary<M, A, F>(
        &self,
        rpc: &'static str,
        request: Request<M>,
        handle: impl FnOnce(M) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let call = self.call(rpc, &request);
        let outcome = match self.admission.admit() {
            Ok(_permit) => call.deadline.bound(handle(request.into_inner())).await,
            Err(refused) => Err(refused),
        };
        observe::ended(&call, outcome.as_ref().map(drop));
        outcome
            .map(Response::new)
            .map_err(|error| status::from_error(&error))
    }

    fn call<M>(&self, rpc: &'static str, request: &Request<M>) -> Call {
        let started = Instant::now();
        Call {
            rpc,
            tenant: Arc::clone(&self.tenant),
            peer: request.remote_addr(),
            started,
            deadline: Deadline::of_call(started, request.metadata(), self.call_timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tonic::{Code, transport::server::TcpConnectInfo};

    use super::*;

    fn door(call_timeout: Duration) -> (FrontDoor, Admission) {
        let admission = Admission::new(1);
        let tenant = "a:b".parse().unwrap();
        let door = FrontDoor::new(admission.clone(), tenant, call_timeout);
        (door, admission)
    }

    #[tokio::test]
    async fn one_call_too_many_is_refused_at_once() {
        let (door, admission) = door(Duration::from_secs(60));
        admission.open();
        let held = door.clone();
        let (started, running) = tokio::sync::oneshot::channel();
        let first = tokio::spawn(async move {
            let handle = async move |()| {
                started.send(()).ok();
                pending::<Result<(), Error>>().await
            };
            held.unary("Get", Request::new(()), handle).await
        });
        running.await.unwrap();
        assert_eq!(admission.in_flight(), 1);
        let done = async |()| Ok(());
        let refused = door.unary("Get", Request::new(()), done).await;
        assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
        first.abort();
        first.await.unwrap_err();
        assert!(door.unary("Get", Request::new(()), done).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline() {
        let (door, admission) = door(Duration::from_secs(10));
        admission.open();
        let never = async |()| pending::<Result<(), Error>>().await;
        let ended = door.unary("Get", Request::new(()), never).await;
        assert_eq!(ended.unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn nothing_is_admitted_while_migrating() {
        let (door, _) = door(Duration::from_secs(1));
        let done = async |()| Ok(());
        let refused = door.unary("Get", Request::new(()), done).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn a_call_knows_its_peer_and_its_tenant() {
        let (door, _) = door(Duration::from_secs(1));
        let peer = "192.0.2.1:4711".parse().unwrap();
        let mut request = Request::new(());
        request.extensions_mut().insert(TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(peer),
        });
        let call = door.call("Get", &request);
        assert_eq!((call.rpc, call.peer), ("Get", Some(peer)));
        assert_eq!(call.tenant.to_string(), "a:b");
    }
}
