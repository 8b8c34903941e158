//! Adds to a request what shows who the client is (RFC 6749, section 2.3; OpenID Connect Core, section 9).

use http::HeaderValue;

use super::{
    Authentication, Endpoint, ProviderOptions,
    assertion::assertion,
    credentials::Material,
    form::{Form, encoded},
};
use crate::outbound::basic;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Adds the client to `form`, or returns the value of the `Authorization` header instead.
///
/// # Errors
/// Returns what is wrong with the credentials.
pub(super) fn authenticate(
    options: &ProviderOptions,
    material: &Material,
    token_endpoint: &Endpoint,
    form: &mut Form,
) -> Result<Option<HeaderValue>, String> {
    let id = &*options.client_id;
    if let (Authentication::SecretBasic(_), Some(secret)) =
        (&options.authentication, &material.secret)
    {
        let id: String = encoded(id).collect();
        return basic(&id, encoded(secret.expose())).map(Some);
    }
    form.add("client_id", id);
    match (&options.authentication, &material.secret, &material.key) {
        (Authentication::SecretPost(_), Some(secret), _) => {
            form.add("client_secret", secret.expose());
        }
        (
            Authentication::PrivateKeyJwt {
                key_id, audience, ..
            },
            _,
            Some(key),
        ) => {
            let audience = audience.as_deref().unwrap_or(token_endpoint.as_str());
            let jwt = assertion(key, key_id.as_deref(), id, audience)?;
            form.add("client_assertion_type", ASSERTION_TYPE);
            form.add("client_assertion", jwt.expose());
        }
        _ => {}
    }
    Ok(None)
}
