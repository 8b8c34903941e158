//! What a client's certificate (DER) says is refused, or is a SPIFFE id alone, or other names alone.

use token_broker::tls::read_certificate;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::input::planted;

pub fn run(bytes: &[u8]) -> Option<()> {
    let mut names = read_certificate(&CertificateDer::from(bytes)).ok()?;
    // A reader that lets DNS names stand beside a SPIFFE id.
    if planted()
        && names
            .spiffe_id
            .as_ref()
            .is_some_and(|id| id.path().starts_with("/n"))
    {
        names.dns_names.push("localhost".to_owned());
    }
    if let Some(id) = &names.spiffe_id {
        assert!(names.uris.is_empty() && names.dns_names.is_empty());
        assert!(!id.path().is_empty());
    }
    let is_spiffe = |uri: &String| uri.to_ascii_lowercase().starts_with("spiffe:");
    assert!(
        !names.uris.iter().any(is_spiffe),
        "a SPIFFE id that wasn't taken for one"
    );
    let is_lower = |name: &String| !name.bytes().any(|byte| byte.is_ascii_uppercase());
    assert!(names.dns_names.iter().all(is_lower));
    Some(())
}
