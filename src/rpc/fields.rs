//! Checks the fields of a request one by one. All violations of a request are reported together.

use std::time::Duration;

use prost_types::Timestamp;

use crate::{
    error::{Error, Violations},
    proto::v1,
    tokens::Binding,
    types::{
        ClientId, IdError, ProviderName, RowKey, SessionId, Subject, UnixTime, UserId, Version,
    },
};

/// The longest `google.protobuf.Duration`, in seconds.
const LONGEST_SPAN: u64 = 315_576_000_000;

/// Collects violations. A method that parses a field returns `None` if it added a violation.
#[derive(Default)]
pub(super) struct Fields(Violations);

impl Fields {
    pub(super) fn reject(&mut self, field: &str, description: impl Into<String>) {
        self.0.add(field, description);
    }

    pub(super) fn note<T>(&mut self, field: &str, parsed: Result<T, IdError>) -> Option<T> {
        parsed
            .map_err(|error| self.reject(field, error.to_string()))
            .ok()
    }

    pub(super) fn session(&mut self, id: String) -> Option<SessionId> {
        self.note("session_id", SessionId::new(id))
    }

    pub(super) fn provider(&mut self, name: String) -> Option<ProviderName> {
        self.note("provider", ProviderName::new(name))
    }

    pub(super) fn user(&mut self, id: String) -> Option<UserId> {
        self.note("user_id", UserId::new(id))
    }

    pub(super) fn key(&mut self, session: String, provider: String) -> Option<RowKey> {
        let (session, provider) = (self.session(session), self.provider(provider));
        Some(RowKey {
            session: session?,
            provider: provider?,
        })
    }

    /// Parses an id that may be left out. Returns `None` without a violation if it is empty.
    pub(super) fn optional<T>(
        &mut self,
        field: &str,
        id: String,
        parse: impl FnOnce(String) -> Result<T, IdError>,
    ) -> Option<T> {
        if id.is_empty() {
            None
        } else {
            self.note(field, parse(id))
        }
    }

    pub(super) fn version(&mut self, field: &str, number: u64) -> Option<Version> {
        let version = Version::from_number(number);
        if version.is_none() {
            self.reject(field, "is not a version: 1 to 2^53 - 1");
        }
        version
    }

    pub(super) fn time(&mut self, field: &str, time: Option<Timestamp>) -> Option<UnixTime> {
        let Timestamp { seconds, nanos } = time?;
        let valid = (0..1_000_000_000).contains(&nanos);
        let time = UnixTime::from_seconds(seconds).filter(|_| valid);
        if time.is_none() {
            self.reject(
                field,
                "must lie after 1970-01-01T00:00:00Z and before the year 10000",
            );
        }
        time
    }

    /// Parses a span of time, which is not negative.
    pub(super) fn span(
        &mut self,
        field: &str,
        span: Option<prost_types::Duration>,
    ) -> Option<Duration> {
        let prost_types::Duration { seconds, nanos } = span?;
        let seconds = u64::try_from(seconds).ok();
        let seconds = seconds.filter(|seconds| *seconds <= LONGEST_SPAN);
        let nanos = u32::try_from(nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000);
        let span = seconds.zip(nanos);
        if span.is_none() {
            self.reject(
                field,
                "must be a duration that is not negative, with fewer than 1,000,000,000 nanos",
            );
        }
        span.map(|(seconds, nanos)| Duration::new(seconds, nanos))
    }

    /// Parses the binding that a row must have. Without a binding in the request, every row matches.
    pub(super) fn binding(&mut self, binding: Option<v1::Binding>) -> Option<Binding> {
        let Some(v1::Binding {
            user_id,
            client_id,
            upstream_subject,
        }) = binding
        else {
            return Some(Binding::default());
        };
        if user_id.is_none() && client_id.is_none() && upstream_subject.is_none() {
            self.reject(
                "binding",
                "must name a user_id, a client_id or an upstream_subject",
            );
        }
        Some(Binding {
            user_id: user_id.and_then(|id| self.note("binding.user_id", UserId::new(id))),
            client_id: client_id.and_then(|id| self.note("binding.client_id", ClientId::new(id))),
            upstream_subject: upstream_subject
                .and_then(|id| self.note("binding.upstream_subject", Subject::new(id))),
        })
    }

    /// Parses the page size of a request. 0 stands for the default.
    pub(super) fn page_size(&mut self, size: i32) -> usize {
        usize::try_from(size).unwrap_or_else(|_| {
            self.reject("page_size", "must not be negative");
            0
        })
    }

    /// Returns the parsed `value`, or all violations as an error. `value` is only `None` if there is a
    /// violation.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.0.total() == 0 => Ok(value),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}
