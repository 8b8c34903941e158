//! The fields of a request, checked one by one. All that is wrong with a request is reported at once.

use prost_types::Timestamp;

use crate::{
    error::{Error, FieldViolation},
    types::{IdError, ProviderName, RowKey, SessionId, UnixTime, UserId, Version},
};

/// Collects what is wrong. A method that parses a field answers `None` where it noted a violation.
#[derive(Default)]
pub(super) struct Fields(Vec<FieldViolation>);

impl Fields {
    pub(super) fn reject(&mut self, field: &str, description: impl Into<String>) {
        self.0.push(FieldViolation {
            field: field.to_owned(),
            description: description.into(),
        });
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

    /// An id that may be left out: empty is none.
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

    /// The page size of a request; 0 is the default.
    pub(super) fn page_size(&mut self, size: i32) -> usize {
        usize::try_from(size).unwrap_or_else(|_| {
            self.reject("page_size", "must not be negative");
            0
        })
    }

    /// What was collected for, unless something was wrong. `None` without a violation can't be.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}
