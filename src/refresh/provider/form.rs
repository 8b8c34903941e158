//! Bodies of the form `application/x-www-form-urlencoded`, with secrets in them.

use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{outbound::secret_body, types::SecretBytes};

/// What is encoded: everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns `text` as it stands in a form.
pub(super) fn encoded(text: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(text, RESERVED)
}

/// The parameters of a request. Its memory is wiped.
pub(super) struct Form(SecretBytes);

impl Form {
    /// Returns a form without parameters.
    pub fn new() -> Self {
        Self(SecretBytes::default())
    }

    /// Adds a parameter.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.reserve(name.len() + 3 * value.len() + 2);
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        for part in encoded(value) {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    /// Returns the body. Its memory is wiped when its last clone is dropped.
    pub fn into_body(self) -> Bytes {
        secret_body(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_encoded() {
        let mut form = Form::new();
        form.add("grant_type", "refresh_token");
        form.add("refresh_token", "a+b/c=d&e é");
        let body = form.into_body();
        assert_eq!(
            &body[..],
            b"grant_type=refresh_token&refresh_token=a%2Bb%2Fc%3Dd%26e%20%C3%A9"
        );
    }
}
