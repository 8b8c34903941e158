//! What Redis answers, as types.

use redis::{FromRedisValue, Value};

use crate::store::Error;

/// Converts an answer that has a known form.
///
/// # Errors
/// [`Error::Unavailable`] if it has another one, as behind a proxy that isn't Redis.
pub fn parse<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    // The client's own error would quote the value.
    T::from_redis_value(value).map_err(|_| unexpected())
}

/// The items of an answer that is a list.
///
/// # Errors
/// As [`parse`].
pub fn list(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(unexpected()),
    }
}

/// The bytes of a string, without a copy; `None` for a key that isn't there.
///
/// # Errors
/// As [`parse`].
pub fn bytes(value: Value) -> Result<Option<Vec<u8>>, Error> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> Error {
    Error::unavailable("Redis answered something unexpected")
}
