//! A call as a value, and how a service answers one.

use std::{future::Future, sync::Arc};

use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::Span;

use super::{admission::Permit, deadline::Deadline, notes::Notes, observe, status};
use crate::{access::Caller, error::Error, store::Outstanding};

/// What the broker knows about a call before it reads the message.
///
/// Who calls was judged by the policy in force when the call began. Its tenant is the one that the call is about.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name of the method, such as `GetAll`.
    pub rpc: &'static str,
    /// Who calls, and what it may do.
    pub caller: Arc<Caller>,
    /// What names the tenant in the log, if the broker has several.
    pub scope: Span,
    /// What the call's event will say.
    pub notes: Notes,
    /// When the call arrived.
    pub started: Instant,
    /// When the call ends at the latest.
    pub deadline: Deadline,
    /// The call's place among the calls in flight.
    pub permit: Arc<Permit>,
    /// The requests to the store that aren't answered yet.
    pub outstanding: Outstanding,
}

impl Call {
    /// Returns by when the call has to have its answer, so that it leaves in time.
    pub(super) fn answer_by(&self) -> Instant {
        self.deadline.answer_by(self.started)
    }
}

/// Answers a unary call that the [`FrontDoor`](super::FrontDoor) let in: gives the message to `handle`, and
/// writes the call's line to the log.
///
/// # Errors
/// Returns the status of the error if `handle` fails.
pub(super) async fn unary<M, A, F>(
    mut request: Request<M>,
    handle: impl FnOnce(Call, M) -> F,
) -> Result<Response<A>, Status>
where
    F: Future<Output = Result<A, Error>>,
{
    let Some(call) = request.extensions_mut().remove::<Call>() else {
        return Err(Status::internal("the method isn't at the front door"));
    };
    let outcome = handle(call.clone(), request.into_inner()).await;
    if let Err(error) = &outcome {
        call.notes.error(error);
    }
    if !call.outstanding.is_abandoned() {
        observe::ended(&call, outcome.as_ref().map(drop));
    }
    outcome
        .map(Response::new)
        .map_err(|error| status::from_error(&error))
}
