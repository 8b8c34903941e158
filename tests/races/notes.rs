//! What callers record besides the histories of the rows, and how they parse an answer.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
};

use testkit::linearizability::Recorder;
use tonic::{Response, Status};
use tonic_types::StatusExt;

use crate::rows::{Attempt, RowName};

/// The history of each row.
pub(crate) type Histories = BTreeMap<RowName, Recorder>;

/// What a caller recorded besides the histories of the rows.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) calls: u64,
    /// The reasons of failures that say nothing about the row, with their counts.
    pub(crate) failures: BTreeMap<String, u64>,
    /// The attempt whose tokens each version was read with.
    pub(crate) contents: HashMap<u64, Attempt>,
    /// Rows whose tokens weren't all of one attempt, and versions that were read with different
    /// content.
    pub(crate) torn: Vec<String>,
}

/// The broker's answer, as far as it says something about the row.
pub(crate) enum Answer<T> {
    Ok(T),
    /// `ROW_NOT_FOUND`, `ROW_EXISTS` or `VERSION_MISMATCH`: the row doesn't meet the condition.
    No,
    /// It is unknown whether the call was applied.
    Unknown,
}

impl Notes {
    /// Adds what another caller recorded.
    pub(crate) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        for (reason, times) in other.failures {
            *self.failures.entry(reason).or_default() += times;
        }
        self.torn.extend(other.torn);
        for (version, attempt) in other.contents {
            self.is_content(version, attempt);
        }
    }

    /// Records which attempt wrote a version.
    pub(crate) fn is_content(&mut self, version: u64, attempt: Attempt) {
        let known = *self.contents.entry(version).or_insert(attempt);
        if known != attempt {
            let torn = format!("version {version} is what {known:?} wrote, and {attempt:?}");
            self.torn.push(torn);
        }
    }
}

/// Waits for an answer and classifies it.
pub(crate) async fn answer<T>(
    notes: &mut Notes,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Answer<T> {
    notes.calls += 1;
    let status = match call.await {
        Ok(response) => return Answer::Ok(response.into_inner()),
        Err(status) => status,
    };
    let reason = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    if matches!(
        reason.as_str(),
        "ROW_NOT_FOUND" | "ROW_EXISTS" | "VERSION_MISMATCH"
    ) {
        return Answer::No;
    }
    let failure = format!("{:?} {reason} {}", status.code(), status.message());
    *notes.failures.entry(failure).or_default() += 1;
    Answer::Unknown
}
