//! Converting the answers of Redis to types.

use std::collections::HashMap;

use redis::{FromRedisValue, Value};

use crate::{store::Error, types::SecretBytes};

/// Converts an answer to the type that the command should return.
///
/// # Errors
/// Returns [`Error::Unavailable`] if the answer has another type. A proxy that isn't Redis may send such an
/// answer.
pub fn parse<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    // The client's own error would quote the value.
    T::from_redis_value(value).map_err(|_| unexpected())
}

/// Converts the answer to a write.
///
/// # Errors
/// Returns [`Error::Unknown`] if the answer has another type: Redis answered, so that it may have done anything.
pub fn of_write<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    T::from_redis_value(value).map_err(|_| odd_outcome())
}

/// Returns the error for a write with an answer that no script gives.
pub fn odd_outcome() -> Error {
    Error::Unknown("Redis answered something unexpected to a write".to_owned())
}

/// Returns the items of an answer that is a list.
///
/// # Errors
/// Returns the errors of [`parse`].
pub fn list(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(unexpected()),
    }
}

/// Returns the bytes of a string without copying them. Returns `None` if the key doesn't exist.
///
/// # Errors
/// Returns the errors of [`parse`].
pub fn bytes(value: Value) -> Result<Option<Vec<u8>>, Error> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        _ => Err(unexpected()),
    }
}

/// Returns the strings in an answer that is a list of them, which may hold tokens. `None` stands for a key that doesn't
/// exist.
///
/// # Errors
/// Returns the errors of [`parse`].
pub fn secrets(value: Value) -> Result<Vec<Option<SecretBytes>>, Error> {
    let items = list(value)?.into_iter();
    let items: Vec<_> = items
        .map(|item| bytes(item).map(|bytes| bytes.map(SecretBytes::new)))
        .collect();
    // From here on all of them are wiped, also if one isn't a string.
    items.into_iter().collect()
}

/// Returns the names of keys in an answer that is a list or a set of them. They may hold session ids, and are wiped when they
/// are dropped.
///
/// # Errors
/// Returns the errors of [`parse`].
pub fn names(value: Value) -> Result<Vec<SecretBytes>, Error> {
    let names = match value {
        Value::Set(names) => Value::Array(names),
        other => other,
    };
    let names = secrets(names)?.into_iter();
    names.map(|name| name.ok_or_else(unexpected)).collect()
}

/// Returns the lines `name:value` of an answer to INFO. An answer that isn't a text has none.
#[must_use]
pub fn info(value: Value) -> HashMap<String, String> {
    let text = String::from_redis_value(value).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Returns the error for an answer that no server gives.
pub fn unexpected() -> Error {
    Error::unavailable("Redis answered something unexpected")
}
