//! The scheme `Basic` (RFC 7617).

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;

use super::body::secret_body;
use crate::types::SecretBytes;

const BASIC: &[u8] = b"Basic ";

/// Returns the value of a header for the scheme `Basic`.
///
/// # Errors
/// Returns an error if it can't be a header.
pub(crate) fn basic<'a>(
    user: &str,
    password: impl Iterator<Item = &'a str>,
) -> Result<HeaderValue, String> {
    let mut pair = SecretBytes::with_capacity(8192);
    pair.extend_from_slice(user.as_bytes());
    pair.push(b':');
    for part in password {
        pair.extend_from_slice(part.as_bytes());
    }
    let mut value = SecretBytes::new(vec![0; BASIC.len() + pair.len().div_ceil(3) * 4]);
    let (scheme, encoded) = value.split_at_mut(BASIC.len());
    scheme.copy_from_slice(BASIC);
    // There is room for all of it.
    _ = STANDARD.encode_slice(&*pair, encoded);
    secret_header(value).ok_or_else(|| "the secret can't be sent in a header".to_owned())
}

/// Returns a value of a header that is wiped when its last clone is dropped. `None` if it can't be one.
pub(crate) fn secret_header(value: SecretBytes) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(secret_body(value)).ok()?;
    value.set_sensitive(true);
    Some(value)
}
