//! From the wire to the domain. Everything that is wrong with a request is reported at once.

use prost_types::Timestamp;

use crate::{
    error::{Error, FieldViolation},
    proto::v1::{self, delete_request, precondition},
    tokens::{Binding, Precondition, StoreTokens},
    types::{
        ClientId, IdError, ProviderName, Row, RowKey, Secret, SessionId, Subject, UnixTime, UserId,
        Version,
    },
};

/// The longest `token_type`, in bytes.
const MAX_TOKEN_TYPE: usize = 64;

/// What a request to delete names.
pub(super) enum DeleteTarget {
    Row(RowKey, Option<Version>),
    Session(SessionId),
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Fields(Vec<FieldViolation>);

impl Fields {
    fn reject(&mut self, field: &str, description: impl Into<String>) {
        self.0.push(FieldViolation {
            field: field.to_owned(),
            description: description.into(),
        });
    }

    fn note<T>(&mut self, field: &str, parsed: Result<T, IdError>) -> Option<T> {
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
    fn optional<T>(
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

    fn version(&mut self, field: &str, number: u64) -> Option<Version> {
        let version = Version::from_number(number);
        if version.is_none() {
            self.reject(field, "is not a version: 1 to 2^53 - 1");
        }
        version
    }

    fn time(&mut self, field: &str, time: Option<Timestamp>) -> Option<UnixTime> {
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

    /// What to expect of a row: nothing, if the request has no binding.
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

    fn tokens(&mut self, tokens: Option<v1::UpstreamTokens>) -> Option<Row> {
        let Some(tokens) = tokens else {
            self.reject("tokens", "is required");
            return None;
        };
        let row = Row {
            access_token: Secret::new(tokens.access_token),
            refresh_token: Secret::new(tokens.refresh_token),
            id_token: Secret::new(tokens.id_token),
            token_type: tokens.token_type,
            scopes: tokens.scopes,
            expires_at: self.time("tokens.expires_at", tokens.expires_at),
            session_expires_at: self.time("tokens.session_expires_at", tokens.session_expires_at),
            refresh_expires_at: self.time("tokens.refresh_expires_at", tokens.refresh_expires_at),
            user_id: self.optional("tokens.user_id", tokens.user_id, UserId::new),
            upstream_subject: self.optional(
                "tokens.upstream_subject",
                tokens.upstream_subject,
                Subject::new,
            ),
            client_id: self.optional("tokens.client_id", tokens.client_id, ClientId::new),
            updated_at: None,
            reauth: None,
        };
        if row.access_token.is_none() && row.refresh_token.is_none() && row.id_token.is_none() {
            self.reject(
                "tokens",
                "must have an access_token, a refresh_token or an id_token",
            );
        }
        if row.token_type.len() > MAX_TOKEN_TYPE || row.token_type.chars().any(char::is_control) {
            self.reject(
                "tokens.token_type",
                "must be at most 64 bytes, without control characters",
            );
        }
        let blank = |c: char| c.is_whitespace() || c.is_control();
        for (at, scope) in row.scopes.iter().enumerate() {
            if scope.is_empty() || scope.contains(blank) {
                let field = format!("tokens.scopes[{at}]");
                self.reject(&field, "must be one scope: not empty, without white space");
            }
        }
        Some(row)
    }

    fn precondition(&mut self, given: Option<v1::Precondition>) -> Option<Precondition> {
        match given?.condition {
            Some(precondition::Condition::MustNotExist(true)) => Some(Precondition::MustNotExist),
            Some(precondition::Condition::MustNotExist(false)) => {
                self.reject("precondition.must_not_exist", "can only be true");
                None
            }
            Some(precondition::Condition::Version(number)) => self
                .version("precondition.version", number)
                .map(Precondition::Version),
            None => {
                self.reject("precondition", "must set must_not_exist or version");
                None
            }
        }
    }

    /// What was collected for, unless something was wrong. `None` without a violation can't be.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}

pub(super) fn store(request: v1::StoreRequest) -> Result<StoreTokens, Error> {
    let mut fields = Fields::default();
    let key = fields.key(request.session_id, request.provider);
    let row = fields.tokens(request.tokens);
    let precondition = fields.precondition(request.precondition);
    let carry_forward = request.carry_forward_refresh_token;
    let store = key.zip(row);
    fields.finish(store.map(|(key, row)| StoreTokens {
        key,
        row,
        precondition,
        carry_forward,
    }))
}

pub(super) fn delete(request: v1::DeleteRequest) -> Result<DeleteTarget, Error> {
    let mut fields = Fields::default();
    let session = fields.session(request.session_id);
    let version = request
        .version
        .and_then(|number| fields.version("version", number));
    let target = match request.target {
        Some(delete_request::Target::Provider(name)) => {
            let provider = fields.provider(name);
            let key = session.zip(provider);
            key.map(|(session, provider)| DeleteTarget::Row(RowKey { session, provider }, version))
        }
        Some(delete_request::Target::AllProviders(all)) => {
            if !all {
                fields.reject("all_providers", "can only be true");
            }
            if request.version.is_some() {
                fields.reject("version", "goes with provider only");
            }
            session.map(DeleteTarget::Session)
        }
        None => {
            fields.reject("target", "must set provider or all_providers");
            None
        }
    };
    fields.finish(target)
}

/// The page size of a request; 0 is the default.
pub(super) fn page_size(fields: &mut Fields, size: i32) -> usize {
    usize::try_from(size).unwrap_or_else(|_| {
        fields.reject("page_size", "must not be negative");
        0
    })
}
