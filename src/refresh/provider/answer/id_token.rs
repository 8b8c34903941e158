//! The claims of an ID token that say who it is about.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::read::Wiped;
use crate::types::{Secret, SecretBytes};

/// Who an ID token is about. The signature isn't checked: the token came from the token endpoint over TLS (OpenID
/// Connect Core 1.0, section 3.1.3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdClaims {
    /// The issuer (`iss`).
    pub issuer: Option<String>,
    /// The user's subject, from the claim that was asked for.
    pub subject: Option<String>,
}

impl IdClaims {
    /// Reads the claims of a signed JWT, without checking the signature. Returns `None` if it isn't one.
    #[must_use]
    pub fn of(id_token: &Secret, subject_claim: &str) -> Option<Self> {
        let mut parts = id_token.expose().split('.');
        let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let claims = SecretBytes::new(URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?);
        let claims = Wiped(serde_json::from_slice(&claims).ok()?);
        let text = |claim: &str| {
            claims
                .0
                .get(claim)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        claims.0.is_object().then(|| Self {
            issuer: text("iss"),
            subject: text(subject_claim),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Secret {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        Secret::new(format!("e30.{claims}.c2ln")).unwrap()
    }

    #[test]
    fn the_subject_is_in_the_claim_that_is_named() {
        let token = token(r#"{"iss":"https://idp.example","sub":"a","oid":"b","n":7}"#);
        let of = |claim| IdClaims::of(&token, claim).unwrap().subject;
        assert_eq!(of("sub").as_deref(), Some("a"));
        assert_eq!(of("oid").as_deref(), Some("b"));
        assert_eq!((of("missing"), of("n")), (None, None));
        let issuer = IdClaims::of(&token, "sub").unwrap().issuer;
        assert_eq!(issuer.as_deref(), Some("https://idp.example"));
    }

    #[test]
    fn what_is_no_signed_jwt_has_no_claims() {
        for text in [
            "a",
            "a.b",
            "a.b.c",
            "a.e30.c.d.e",
            "a.WzFd.c",
            "..",
            "a.é.c",
        ] {
            let token = Secret::new(text.to_owned()).unwrap();
            assert_eq!(IdClaims::of(&token, "sub"), None, "{text}");
        }
    }
}
