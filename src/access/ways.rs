//! How callers can be known at all, by how a broker is reached and by who vouches for certificates.

use std::{collections::BTreeSet, fmt};

use super::Credential;

/// What a broker can take from its callers. A policy may be shared by brokers that are reached differently, so that what one
/// of them can't take is no mistake in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Which client certificates it can take.
    pub certificates: Certificates,
    /// Whether a bearer token can come by a way on which nobody reads it.
    pub bearer: bool,
}

/// Which client certificates a broker can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// None: it serves without TLS.
    WithoutTls,
    /// None: it asks for none.
    Off,
    /// Those for which somebody vouches.
    Vouched {
        /// Whether there are authorities for certificates without a SPIFFE id.
        client_ca: bool,
        /// The trust domains that have authorities. `None`: those that an agent gives, which may be any.
        trust_domains: Option<BTreeSet<String>>,
        /// Whether a client without a certificate isn't served.
        are_required: bool,
    },
}

/// Why nobody can be known by a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Certificates need TLS.
    WithoutTls,
    /// The broker asks for no certificate.
    CertificatesOff,
    /// Nobody vouches for the SPIFFE ids of the trust domain.
    NoTrustDomain,
    /// Nobody vouches for certificates without a SPIFFE id.
    NoClientCa,
    /// A bearer token would come in plain text over a network.
    PlainText,
    /// A bearer token comes beside a certificate, and that isn't one of the same caller.
    CertificateRequired,
}

impl Ways {
    /// Returns the ways of a broker that can take any credential.
    #[must_use]
    pub fn all() -> Self {
        Self {
            certificates: Certificates::Vouched {
                client_ca: true,
                trust_domains: None,
                are_required: false,
            },
            bearer: true,
        }
    }

    /// Returns, for each of a caller's credentials, why the caller can't be known by it here. `None`: it can.
    pub fn hindrances(&self, credentials: &[Credential]) -> Vec<Option<Hindrance>> {
        let mut found: Vec<_> = credentials.iter().map(|one| self.hindrance(one)).collect();
        let is_bearer = |one: &Credential| matches!(one, Credential::Bearer(_));
        let mut each = credentials.iter().zip(&found);
        let has_certificate = each.any(|(one, why)| !is_bearer(one) && why.is_none());
        // A certificate of no caller refuses the call, whatever comes with it.
        if self.are_certificates_required() && !has_certificate {
            for (_, why) in credentials
                .iter()
                .zip(&mut found)
                .filter(|(one, _)| is_bearer(one))
            {
                why.get_or_insert(Hindrance::CertificateRequired);
            }
        }
        found
    }

    /// Whether every client has to show a certificate, whatever else it brings.
    pub fn are_certificates_required(&self) -> bool {
        match self.certificates {
            Certificates::Vouched { are_required, .. } => are_required,
            Certificates::WithoutTls | Certificates::Off => false,
        }
    }

    fn hindrance(&self, credential: &Credential) -> Option<Hindrance> {
        if let Credential::Bearer(_) = credential {
            return (!self.bearer).then_some(Hindrance::PlainText);
        }
        let (client_ca, trust_domains) = match &self.certificates {
            Certificates::WithoutTls => return Some(Hindrance::WithoutTls),
            Certificates::Off => return Some(Hindrance::CertificatesOff),
            Certificates::Vouched {
                client_ca,
                trust_domains,
                ..
            } => (*client_ca, trust_domains),
        };
        let (is_vouched, lack) = match (credential, trust_domains) {
            (Credential::Spiffe(_), None) => return None,
            (Credential::Spiffe(id), Some(domains)) => (
                domains.contains(id.trust_domain()),
                Hindrance::NoTrustDomain,
            ),
            _ => (client_ca, Hindrance::NoClientCa),
        };
        (!is_vouched).then_some(lack)
    }
}

/// Says what is lacking, by the name of the setting.
impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WithoutTls => "the broker serves without TLS, so that no client shows a certificate",
            Self::CertificatesOff => {
                "the broker asks clients for no certificate: neither client-ca nor trust-domains is set, or \
                 client-certificates is off"
            }
            Self::NoTrustDomain => {
                "nobody vouches for its trust domain, which trust-domains doesn't name"
            }
            Self::NoClientCa => {
                "nobody vouches for certificates without a SPIFFE id: client-ca isn't set"
            }
            Self::PlainText => {
                "the broker listens on a network without TLS, where it takes no bearer token"
            }
            Self::CertificateRequired => {
                "every client has to show a certificate, which must be one of the same caller, and the caller can't be \
                 known by any: set client-certificates to optional"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::TokenSha256;

    fn vouched(client_ca: bool, domains: Option<&[&str]>, are_required: bool) -> Certificates {
        Certificates::Vouched {
            client_ca,
            trust_domains: domains.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            are_required,
        }
    }

    /// Of each credential: whether the caller can be known by it, where it is the only one.
    #[test]
    fn each_credential_needs_a_way_of_its_own() {
        use Hindrance::*;
        let spiffe = |id: &str| Credential::Spiffe(id.parse().unwrap());
        let bearer = Credential::Bearer(TokenSha256::of(b"abc"));
        let credentials = [
            spiffe("spiffe://prod.test/a"),
            spiffe("spiffe://test.test/a"),
            Credential::Uri("urn:a".to_owned()),
            Credential::Dns("a.test".to_owned()),
            bearer.clone(),
        ];
        let prod: &[&str] = &["prod.test"];
        for (certificates, has_bearer, expected) in [
            (Certificates::WithoutTls, true, {
                let lack = Some(WithoutTls);
                [lack, lack, lack, lack, None]
            }),
            (Certificates::WithoutTls, false, {
                let lack = Some(WithoutTls);
                [lack, lack, lack, lack, Some(PlainText)]
            }),
            (Certificates::Off, true, {
                let lack = Some(CertificatesOff);
                [lack, lack, lack, lack, None]
            }),
            (vouched(true, Some(&[]), true), true, {
                let (domain, alone) = (Some(NoTrustDomain), Some(CertificateRequired));
                [domain, domain, None, None, alone]
            }),
            (vouched(false, Some(prod), false), true, {
                let lack = Some(NoClientCa);
                [None, Some(NoTrustDomain), lack, lack, None]
            }),
            // Nobody knows ahead what an agent gives.
            (vouched(false, None, false), true, {
                let lack = Some(NoClientCa);
                [None, None, lack, lack, None]
            }),
        ] {
            let ways = Ways {
                certificates,
                bearer: has_bearer,
            };
            for (credential, expected) in credentials.iter().zip(expected) {
                let found = ways.hindrances(std::slice::from_ref(credential));
                assert_eq!(found, [expected], "{ways:?}: {credential}");
            }
        }
        // Beside a certificate of the same caller a token is of no harm.
        let ways = Ways {
            certificates: vouched(true, Some(prod), true),
            bearer: true,
        };
        let [good, other, _, dns, _] = credentials;
        assert_eq!(ways.hindrances(&[good, bearer.clone()]), [None, None]);
        assert_eq!(ways.hindrances(&[bearer.clone(), dns]), [None, None]);
        assert_eq!(
            ways.hindrances(&[other, bearer]),
            [Some(NoTrustDomain), Some(CertificateRequired)]
        );
    }
}
