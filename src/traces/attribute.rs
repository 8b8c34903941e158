//! What a span says.

use crate::types::{ProviderName, Tenant};

/// Something that a span says. All of it is the broker's own word, a number, or a name of the operator's.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// The full name of the service that is called.
    Service(&'static str),
    /// The method that is called.
    Method(&'static str),
    /// The code of the answer, a number of gRPC.
    Code(i32),
    /// The reason of an answer that is an error, one of the proto's.
    Reason(&'static str),
    /// What kind of caller it is.
    Class(&'static str),
    /// The tenant that the call is about, one that the broker serves.
    Tenant(Tenant),
    /// A provider. It must be one that is configured: a name that a caller or a row has may be anything.
    Provider(ProviderName),
    /// What the store does.
    Operation(&'static str),
    /// How it ended.
    Outcome(&'static str),
    /// In which way it failed.
    Failure(&'static str),
    /// How often a request was sent again.
    Retries(u32),
    /// The method of an HTTP request.
    HttpMethod(&'static str),
    /// The status of an HTTP answer.
    HttpStatus(u16),
}

/// The value of an attribute, as OTLP has it.
pub(super) enum Value {
    Text(String),
    Number(i64),
}

impl Attribute {
    /// Returns its key, of OpenTelemetry's semantic conventions where they have one.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Service(_) => "rpc.service",
            Self::Method(_) => "rpc.method",
            Self::Code(_) => "rpc.grpc.status_code",
            Self::Reason(_) => "token_broker.reason",
            Self::Class(_) => "token_broker.caller_class",
            Self::Tenant(_) => "token_broker.tenant",
            Self::Provider(_) => "token_broker.provider",
            Self::Operation(_) => "db.operation.name",
            Self::Outcome(_) => "token_broker.outcome",
            Self::Failure(_) => "error.type",
            Self::Retries(_) => "token_broker.retries",
            Self::HttpMethod(_) => "http.request.method",
            Self::HttpStatus(_) => "http.response.status_code",
        }
    }

    /// Returns its value.
    pub(super) fn value(self) -> Value {
        match self {
            Self::Service(text)
            | Self::Method(text)
            | Self::Reason(text)
            | Self::Class(text)
            | Self::Operation(text)
            | Self::Outcome(text)
            | Self::Failure(text)
            | Self::HttpMethod(text) => Value::Text(text.to_owned()),
            Self::Tenant(tenant) => Value::Text(tenant.to_string()),
            Self::Provider(provider) => Value::Text(provider.to_string()),
            Self::Code(number) => Value::Number(number.into()),
            Self::Retries(number) => Value::Number(number.into()),
            Self::HttpStatus(number) => Value::Number(number.into()),
        }
    }
}
