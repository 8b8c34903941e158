//! Tests what each generated message prints. The messages are taken from the descriptors.

use std::collections::HashMap;

use prost::{Message as _, bytes::Bytes};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use super::{harmless::HARMLESS, v1};

const PACKAGE: &str = "tokenbroker.v1";
const MARKER: &str = "gho_16C7e42F292c6912E7";

fn pool() -> DescriptorPool {
    DescriptorPool::decode(v1::FILE_DESCRIPTOR_SET).unwrap()
}

/// Returns the messages of the package, nested ones included.
fn messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    let ours = |m: &MessageDescriptor| m.package_name() == PACKAGE && !m.is_map_entry();
    pool.all_messages().filter(ours).collect()
}

/// Returns whether the list has the message, or the outermost message that it is nested in.
fn is_harmless(message: &MessageDescriptor) -> bool {
    let outermost = message.full_name()[PACKAGE.len() + 1..].split('.').next();
    HARMLESS.iter().any(|name| outermost == Some(name))
}

/// Returns the message with the marker in every text. Sets `last` after all other fields, because a
/// oneof keeps only the alternative that was set last.
fn filled(message: &MessageDescriptor, last: Option<&FieldDescriptor>) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields().chain(last.cloned()) {
        filled.set_field(&field, value(&field));
    }
    filled
}

fn value(field: &FieldDescriptor) -> Value {
    if let Kind::Message(entry) = field.kind()
        && field.is_map()
    {
        let key = match entry.map_entry_key_field().kind() {
            Kind::String => MapKey::String(MARKER.to_owned()),
            other => MapKey::default_value(&other),
        };
        return Value::Map(HashMap::from([(key, one(&entry.map_entry_value_field()))]));
    }
    if field.is_list() {
        Value::List(vec![one(field)])
    } else {
        one(field)
    }
}

fn one(field: &FieldDescriptor) -> Value {
    match field.kind() {
        Kind::String => Value::String(MARKER.to_owned()),
        Kind::Bytes => Value::Bytes(Bytes::from_static(MARKER.as_bytes())),
        Kind::Message(message) => Value::Message(filled(&message, None)),
        other => Value::default_value(&other),
    }
}

fn is_text(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::String | Kind::Bytes => true,
        Kind::Message(entry) if field.is_map() => entry.fields().any(|field| is_text(&field)),
        _ => false,
    }
}

#[test]
fn no_message_prints_what_is_in_it() {
    let mut marked = 0;
    for message in messages(&pool()).iter().filter(|m| !is_harmless(m)) {
        for last in message.fields() {
            let name = format!("{}, {}", message.full_name(), last.name());
            let filled = filled(message, Some(&last));
            // `printed` is generated. It decodes into the message's own type, and prints it and each
            // of its oneofs.
            let printed = v1::printed(message.full_name(), &filled.encode_to_vec()).unwrap();
            assert!(!printed.contains(MARKER), "{name}: {printed}");
            assert!(printed.contains(message.name()), "{name}: {printed}");
            // The test would find a message that prints its fields.
            if is_text(&last) {
                assert!(format!("{filled:?}").contains(MARKER), "{name}");
                marked += 1;
            }
        }
    }
    assert!(marked > 20, "only {marked} fields were filled with a text");
}

#[test]
fn what_is_called_harmless_has_no_text() {
    let messages = messages(&pool());
    for name in HARMLESS {
        let full_name = format!("{PACKAGE}.{name}");
        assert!(
            messages.iter().any(|m| m.full_name() == full_name),
            "there is no {full_name}"
        );
    }
    for message in messages.iter().filter(|m| is_harmless(m)) {
        let text = message.fields().find(is_text);
        assert_eq!(text, None, "{}", message.full_name());
    }
}

#[test]
fn what_is_printed_instead() {
    let tokens = v1::UpstreamTokens {
        access_token: MARKER.to_owned(),
        ..Default::default()
    };
    let store = v1::StoreRequest {
        session_id: "tsid-1".to_owned(),
        tokens: Some(tokens),
        ..Default::default()
    };
    let printed = format!("{store:?} {:?}", store.tokens);
    assert_eq!(printed, "StoreRequest(***) Some(UpstreamTokens(***))");
    let stored = v1::StoreResponse { version: 7 };
    assert_eq!(format!("{stored:?}"), "StoreResponse { version: 7 }");
}
