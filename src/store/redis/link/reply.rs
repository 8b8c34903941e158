//! Converting the answers of Redis to types.

use redis::{FromRedisValue, Value};

use crate::store::Error;

/// Converts an answer to the type that the command should return.
///
/// # Errors
/// Returns [`Error::Unavailable`] if the answer has another type. A proxy that isn't Redis may send such an
/// answer.
pub fn parse<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    // The client's own error would quote the value.
    T::from_redis_value(value).map_err(|_| unexpected())
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

fn unexpected() -> Error {
    Error::unavailable("Redis answered something unexpected")
}
