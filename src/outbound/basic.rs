//! The scheme `Basic` (RFC 7617).

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;

use crate::types::SecretBytes;

/// Returns the value of a header for the scheme `Basic`.
///
/// # Errors
/// Returns an error if it can't be a header.
pub(crate) fn basic<'a>(
    user: &str,
    password: impl Iterator<Item = &'a str>,
) -> Result<HeaderValue, String> {
    let mut pair = SecretBytes::new(Vec::with_capacity(8192));
    pair.extend_from_slice(user.as_bytes());
    pair.push(b':');
    for part in password {
        pair.extend_from_slice(part.as_bytes());
    }
    let mut value = SecretBytes::new(b"Basic ".to_vec());
    value.extend_from_slice(STANDARD.encode(&**pair).as_bytes());
    let mut value = HeaderValue::from_bytes(&value)
        .map_err(|_| "the secret can't be sent in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
