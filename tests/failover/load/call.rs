//! One call and its outcome.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use super::Shared;
use crate::{
    history::Value,
    rows::{self, RowName, Shown},
};

/// The deadline of half of the callers, and of the other half.
const DEADLINES: [Duration; 2] = [Duration::from_secs(2), Duration::from_millis(300)];
/// After this time a call counts as one that never ends.
const NEVER: Duration = Duration::from_secs(20);

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// Failed with this code and reason. It is unknown whether anything was done.
    Unknown(String),
    /// Refused. Certainly nothing was done.
    Refused(String),
}

/// A call that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) broker: usize,
    pub(crate) called: Instant,
    pub(crate) returned: Instant,
    pub(crate) answer: Answer,
    /// The value after the call of each row that it writes.
    pub(crate) writes: Vec<(RowName, Value)>,
    /// The values that the answer showed, if there was an answer.
    pub(crate) reads: Vec<(RowName, Shown)>,
    /// How long the caller waited at most.
    pub(crate) deadline: Duration,
}

impl Call {
    /// A read of a row in Redis itself, not through a broker.
    pub(crate) fn look(row: RowName, called: Instant, text: Option<&str>) -> Self {
        Self {
            name: "a look at Redis",
            broker: usize::MAX,
            called,
            returned: super::now(),
            answer: Answer::Done,
            writes: Vec::new(),
            reads: vec![(row, text.map(rows::shown_in).unwrap_or_default())],
            deadline: DEADLINES[0],
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.answer == Answer::Done
    }

    pub(crate) fn is_write(&self) -> bool {
        !self.writes.is_empty()
    }

    pub(crate) fn took(&self) -> Duration {
        self.returned - self.called
    }
}

/// Returns the deadline of the calls of a caller.
pub(super) fn deadline_of(caller: usize) -> Duration {
    DEADLINES[caller % DEADLINES.len()]
}

/// The call to make.
pub(super) struct PlannedCall {
    pub(super) name: &'static str,
    pub(super) broker: usize,
    pub(super) deadline: Duration,
    pub(super) writes: Vec<(RowName, Value)>,
}

impl PlannedCall {
    /// Makes the call and records its outcome. `shown` takes from an answer the values that it
    /// shows. `None` stands for `NOT_FOUND`.
    pub(super) async fn call<Q, A, F>(
        self,
        shared: &Shared,
        request: Q,
        send: impl FnOnce(Request<Q>) -> F,
        shown: impl FnOnce(Option<A>) -> Vec<(RowName, Shown)>,
    ) where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(request);
        request.set_timeout(self.deadline);
        let called = super::now();
        let ended = tokio::time::timeout(NEVER, send(request)).await;
        let returned = super::now();
        let (answer, reads) = match ended {
            Ok(Ok(response)) => (Answer::Done, shown(Some(response.into_inner()))),
            Ok(Err(status)) if status.code() == Code::NotFound => (Answer::Done, shown(None)),
            Ok(Err(status)) => (failure(&status), Vec::new()),
            Err(_) => (Answer::Unknown("never".to_owned()), Vec::new()),
        };
        shared.note(Call {
            name: self.name,
            broker: self.broker,
            called,
            returned,
            answer,
            writes: self.writes,
            reads,
            deadline: self.deadline,
        });
    }
}

/// Classifies a failure. A broker that was overloaded, or is still migrating, has done nothing.
/// After any other failure the call may have been applied, whatever its reason.
fn failure(status: &Status) -> Answer {
    let info = status.get_details_error_info();
    let reason = info.map(|info| info.reason).unwrap_or_default();
    // Without a reason, the client's library made the error.
    let text = match reason.as_str() {
        "" => format!("{:?} {}", status.code(), status.message()),
        _ => format!("{:?} {reason}", status.code()),
    };
    match reason.as_str() {
        "OVERLOADED" | "MIGRATING" => Answer::Refused(text),
        _ => Answer::Unknown(text),
    }
}
