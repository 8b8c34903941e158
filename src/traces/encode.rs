//! Spans as OTLP has them.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Link, SpanKind},
        status::StatusCode,
    },
};

use super::{Attribute, Kind, Name, TracesOptions, attribute::Value, span::Record};

/// The trace is sampled (W3C Trace Context, section 2.2.5.1).
const SAMPLED: u32 = 0x1;
/// It is known whether the parent is another process' span...
const PARENT_IS_KNOWN: u32 = 0x100;
/// ...and it is.
const PARENT_IS_REMOTE: u32 = 0x200;

/// Returns what all spans are of.
pub(super) fn resource(options: &TracesOptions) -> Resource {
    let instance = options.instance.clone();
    let instance = instance.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    let attributes = [
        ("service.name", options.service.clone()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", instance),
    ];
    let attributes = attributes.map(|(key, text)| key_value(key, Value::Text(text)));
    Resource {
        attributes: attributes.into(),
        ..Resource::default()
    }
}

/// Returns the request that tells the collector of these spans.
pub(super) fn request(
    resource: &Resource,
    records: impl IntoIterator<Item = Record>,
) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = ScopeSpans {
        scope: Some(scope),
        spans: records.into_iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    let spans = ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![spans],
    }
}

fn span(record: Record) -> Span {
    let parent_is_remote = match record.parent_is_remote {
        true => PARENT_IS_REMOTE,
        false => 0,
    };
    let told = record.told;
    let mut attributes: Vec<_> = told.attributes.into_iter().map(attribute).collect();
    match record.name {
        Name::Call(service, method) => {
            attributes.push(key_value("rpc.system", Value::Text("grpc".to_owned())));
            attributes.push(attribute(Attribute::Service(service)));
            attributes.push(attribute(Attribute::Method(method)));
        }
        Name::Work(_) => {}
    }
    if record.retries > 0 {
        attributes.push(attribute(Attribute::Retries(record.retries)));
    }
    let links = told.links.into_iter().map(|link| Link {
        trace_id: link.trace.0.to_be_bytes().into(),
        span_id: link.span.0.to_be_bytes().into(),
        flags: SAMPLED,
        ..Link::default()
    });
    let parent = record.parent.map(|parent| parent.0.to_be_bytes().into());
    Span {
        trace_id: record.trace.0.to_be_bytes().into(),
        span_id: record.id.0.to_be_bytes().into(),
        parent_span_id: parent.unwrap_or_default(),
        flags: SAMPLED | PARENT_IS_KNOWN | parent_is_remote,
        name: match record.name {
            Name::Call(service, method) => format!("{service}/{method}"),
            Name::Work(name) => name.to_owned(),
        },
        kind: match record.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        }
        .into(),
        start_time_unix_nano: nanos(record.started),
        end_time_unix_nano: nanos(record.ended),
        attributes,
        links: links.collect(),
        // No message: what is told to operators is in the log.
        status: told.is_failed.then(|| Status {
            code: StatusCode::Error.into(),
            ..Status::default()
        }),
        ..Span::default()
    }
}

fn attribute(attribute: Attribute) -> KeyValue {
    key_value(attribute.key(), attribute.value())
}

fn key_value(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
