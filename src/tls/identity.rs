//! What a certificate says about its holder.

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate,
    x509::X509Version,
};

use crate::types::{NotSpiffeId, PeerCertificate, SpiffeId};

/// The scheme of SPIFFE ids. A scheme may be in capitals (RFC 3986, 3.1), although SPIFFE ids aren't.
const SPIFFE: &str = "spiffe:";

/// Returns what a client certificate says, which has to be verified yet.
///
/// # Errors
/// Returns what is wrong with it.
pub fn read(certificate: &CertificateDer<'_>) -> Result<PeerCertificate, &'static str> {
    let certificate = parsed(certificate)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| "its alternative names can't be read")?;
    let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(name) => dns_names.push(name.to_ascii_lowercase()),
            GeneralName::Invalid(..) => return Err("an alternative name of it can't be read"),
            _ => {}
        }
    }
    if !uris.iter().any(|uri| is_spiffe(uri)) {
        return Ok(PeerCertificate {
            spiffe_id: None,
            uris,
            dns_names,
        });
    }
    // X.509-SVID, section 2: exactly one URI.
    let [id] = &uris[..] else {
        return Err("it has a SPIFFE id and another URI");
    };
    let id = id.parse::<SpiffeId>().map_err(|why| match why {
        NotSpiffeId::Malformed => "its SPIFFE id is none",
        NotSpiffeId::TrustDomain => "its SPIFFE id names a trust domain and no workload",
    })?;
    // X.509-SVID, section 4.3: a workload signs no certificates.
    let usage = certificate
        .key_usage()
        .map_err(|_| "its key usage can't be read")?;
    if usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
        return Err("it is an authority's and has a SPIFFE id");
    }
    Ok(PeerCertificate {
        spiffe_id: Some(id),
        uris: Vec::new(),
        // A trust domain vouches for its own ids. A DNS name would be one that anybody may have.
        dns_names: Vec::new(),
    })
}

/// From when until when a certificate is valid, in seconds since 1970, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub begin: u64,
    pub end: u64,
}

/// Returns from when until when a certificate is valid. `None` if that can't be read.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let certificate = parsed(certificate).ok()?;
    let validity = certificate.validity();
    let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
    Some(Validity {
        begin: seconds(validity.not_before.timestamp()),
        end: seconds(validity.not_after.timestamp()),
    })
}

/// What a certificate is worth among authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// It may sign others.
    Good,
    /// It could, and has expired.
    Expired,
    /// It is somebody's own certificate (RFC 5280, 4.2.1.9: basic constraints without `cA`). Whoever holds its key isn't meant to
    /// sign others, and verifying wouldn't look at that of a root.
    NotOne,
}

/// Returns what a certificate is worth among authorities at `now`, in seconds since 1970.
pub(super) fn authority(certificate: &CertificateDer<'_>, now: u64) -> Authority {
    if let Ok(parsed) = parsed(certificate) {
        let may_sign = match parsed.basic_constraints() {
            Ok(Some(constraints)) => constraints.value.ca,
            // Version 1 has no extensions, and is found among old roots alone.
            Ok(None) => parsed.version() == X509Version::V1,
            Err(_) => false,
        };
        if !may_sign {
            return Authority::NotOne;
        }
    }
    match validity(certificate) {
        Some(validity) if validity.end < now => Authority::Expired,
        _ => Authority::Good,
    }
}

/// Returns what a certificate holds.
///
/// # Errors
/// Returns that it can't be read.
pub(super) fn parsed<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, &'static str> {
    match parse_x509_certificate(certificate) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err("it can't be read"),
    }
}

fn is_spiffe(uri: &str) -> bool {
    uri.get(..SPIFFE.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE))
}
