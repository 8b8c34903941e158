//! Client assertions: JWTs by which a client shows who it is (RFC 7523).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::signing_key::SigningKey;
use crate::types::Secret;

/// How long an assertion is valid: longer than any request may be on its way.
const LIFE: Duration = Duration::from_secs(120);
/// So far an assertion is dated back, for providers whose clock is behind: they refuse what was issued in their future.
const DATED_BACK: Duration = Duration::from_secs(30);

/// Returns an assertion of `client_id` for `audience`.
///
/// # Errors
/// Returns what went wrong.
pub(super) fn assertion(
    key: &SigningKey,
    key_id: Option<&str>,
    client_id: &str,
    audience: &str,
) -> Result<Secret, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| "the clock stands before 1970".to_owned())?;
    let mut header = json!({ "alg": key.algorithm().name(), "typ": "JWT" });
    if let Some(key_id) = key_id {
        header["kid"] = key_id.into();
    }
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": format!("{:032x}", rand::random::<u128>()),
        "iat": now.saturating_sub(DATED_BACK).as_secs(),
        "exp": (now + LIFE).as_secs(),
    });
    let encoded = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let mut jwt = format!("{}.{}", encoded(&header), encoded(&claims));
    let signature = key.sign(jwt.as_bytes())?;
    jwt.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
    Secret::new(jwt).ok_or_else(|| "the client assertion is empty".to_owned())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer,
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
            UnparsedPublicKey,
        },
    };
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::refresh::provider::Algorithm;

    #[test]
    fn an_assertion_is_signed_and_names_the_client() {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(document.as_ref())
        );
        let key = SigningKey::from_pem(pem.as_bytes(), Algorithm::Es256).unwrap();
        let jwt = assertion(&key, Some("k1"), "client", "https://idp.example/token").unwrap();
        let (signed, signature) = jwt.expose().rsplit_once('.').unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let public = pair.public_key();
        assert!(public.as_der().is_ok());
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public.as_ref())
            .verify(
                signed.as_bytes(),
                &URL_SAFE_NO_PAD.decode(signature).unwrap(),
            )
            .unwrap();
        let part = |at: usize| -> serde_json::Value {
            let part = signed.split('.').nth(at).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(part(0)["kid"], "k1");
        assert_eq!(
            (&part(1)["iss"], &part(1)["sub"]),
            (&"client".into(), &"client".into())
        );
        assert_eq!(part(1)["aud"], "https://idp.example/token");
        // A provider whose clock is half a minute behind accepts it, and nobody for long.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let from_now = |claim: &str| part(1)[claim].as_f64().unwrap() - now.as_secs_f64();
        assert!((-35.0..-29.0).contains(&from_now("iat")), "{}", part(1));
        assert!((115.0..=120.0).contains(&from_now("exp")), "{}", part(1));
        assert!(part(1).get("nbf").is_none());
    }

    #[test]
    fn a_key_for_another_algorithm_is_refused() {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(document.as_ref())
        );
        for algorithm in [Algorithm::Rs256, Algorithm::Es384, Algorithm::EdDsa] {
            let told = SigningKey::from_pem(pem.as_bytes(), algorithm).err();
            let told = told.unwrap_or_default();
            assert!(told.contains(", but for ES256 ("), "{algorithm:?}: {told}");
        }
        for head in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAwAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAAwAA==\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let told = SigningKey::from_pem(head.as_bytes(), Algorithm::Rs256).err();
            assert!(told.unwrap_or_default().contains("encrypted"), "{head}");
        }
        assert!(SigningKey::from_pem(b"no key", Algorithm::Es256).is_err());
    }
}
