//! What a handshake needs: the broker's certificate and key, and the authorities for clients.

use std::sync::Arc;

use tokio_rustls::rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};

use super::{
    ALPN,
    authorities::Authorities,
    options::{ClientCertificates, TlsPart, TlsProblem},
    own::Own,
    parts::{self, Fingerprint, Parts, Trusted},
    verifier::Verifier,
};

/// What is in force for handshakes.
#[derive(Debug)]
pub(super) struct Material {
    pub server: Arc<ServerConfig>,
    /// `None` if clients show no certificates.
    pub verifier: Option<Arc<Verifier>>,
    /// Tells whether the authorities for clients have changed.
    pub authorities: Fingerprint,
    /// The broker's own certificate.
    pub own: Arc<Own>,
    trusted: Trusted,
}

/// What making material needs besides its parts.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub provider: Arc<CryptoProvider>,
    pub client_certificates: ClientCertificates,
}

impl Maker {
    /// Makes the first material. Files have to be all good. Of the bundles that an agent gives, one is enough: the others may be
    /// of other organizations. Returns what is wrong with them, too.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] for each part that can't be used.
    pub fn first(&self, parts: Parts) -> Result<(Material, Vec<TlsProblem>), Vec<TlsProblem>> {
        let parts = self.needed(parts);
        let mut problems = Vec::new();
        let mut trusted = Trusted::new();
        for (part, found) in parts.authorities {
            match found {
                Ok(found) => _ = trusted.insert(part, found),
                Err(problem) => problems.push(problem),
            }
        }
        let is_bundle = |problem: &TlsProblem| matches!(problem.part, TlsPart::Bundle(_));
        let has_bundle = trusted
            .keys()
            .any(|part| matches!(part, TlsPart::Bundle(_)));
        let do_without = problems.iter().all(is_bundle) && (problems.is_empty() || has_bundle);
        match parts.own {
            Ok(own) if do_without => Ok((self.made(own, trusted)?, problems)),
            Ok(_) => Err(problems),
            Err(of_own) => {
                problems.extend(of_own);
                Err(problems)
            }
        }
    }

    /// Makes material of the parts that are good, and of what was in force for the others. `None` if that is what is in
    /// force already. Returns what is wrong with the others, too.
    ///
    /// So an authority that was taken away has no right any more, whatever else is broken, and one that is new has the right that
    /// its own part gives it. A part that is broken has no say in others: its owner may be another organization.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] for each part if nothing can be made of them.
    pub fn next(
        &self,
        before: &Material,
        parts: Parts,
    ) -> Result<(Option<Material>, Vec<TlsProblem>), Vec<TlsProblem>> {
        let parts = self.needed(parts);
        let mut problems = Vec::new();
        let own = parts.own.unwrap_or_else(|of_own| {
            problems.extend(of_own);
            Arc::clone(&before.own)
        });
        let mut trusted = Trusted::new();
        for (part, found) in parts.authorities {
            match (found, before.trusted.get(&part)) {
                (Ok(found), _) => _ = trusted.insert(part, found),
                (Err(problem), had) => {
                    problems.push(problem);
                    trusted.extend(had.map(|had| (part, had.clone())));
                }
            }
        }
        if own.key.cert == before.own.key.cert && trusted == before.trusted {
            return Ok((None, problems));
        }
        match self.made(own, trusted) {
            Ok(material) => Ok((Some(material), problems)),
            Err(of_made) => {
                problems.extend(of_made);
                Err(problems)
            }
        }
    }

    /// Leaves out who could vouch for clients if these show no certificates.
    fn needed(&self, mut parts: Parts) -> Parts {
        if self.client_certificates == ClientCertificates::Off {
            parts.authorities.clear();
        }
        parts
    }

    fn made(&self, own: Arc<Own>, trusted: Trusted) -> Result<Material, Vec<TlsProblem>> {
        let verifier = self.verifier(&trusted)?.map(Arc::new);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| vec![TlsProblem::new(&TlsPart::Certificate, error.to_string())])?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
            None => builder.with_no_client_auth(),
        };
        let shown = SingleCertAndKey::from(Arc::clone(&own.key));
        let mut server = builder.with_cert_resolver(Arc::new(shown));
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A session that is resumed wouldn't verify the client's certificate again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Material {
            server: Arc::new(server),
            verifier,
            authorities: parts::fingerprint_of(&trusted),
            own,
            trusted,
        })
    }

    /// Returns who verifies clients, or `None` if they show no certificates.
    fn verifier(&self, trusted: &Trusted) -> Result<Option<Verifier>, Vec<TlsProblem>> {
        let is_mandatory = match self.client_certificates {
            ClientCertificates::Off => return Ok(None),
            ClientCertificates::Optional => false,
            ClientCertificates::Required => true,
        };
        let mut verifier = Verifier::new(&self.provider, is_mandatory);
        let mut problems = Vec::new();
        for (part, found) in trusted {
            // They were good when they came. Since then all of them may have expired, and then nobody vouches.
            let Ok(authorities) = Authorities::of(found.clone(), "it") else {
                continue;
            };
            let added = match part {
                TlsPart::TrustDomain(name) | TlsPart::Bundle(name) => {
                    verifier.add_trust_domain(name, &authorities, &self.provider)
                }
                _ => verifier.add_client_ca(&authorities, &self.provider),
            };
            problems.extend(added.err().map(|what| TlsProblem::new(part, what)));
        }
        match problems.is_empty() {
            true => Ok(Some(verifier)),
            false => Err(problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::authority::{Authority, Wanted};
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    use tokio_rustls::rustls::pki_types::CertificateDer;

    use super::*;
    use crate::types::{certificates_in, private_key_in};

    fn maker() -> Maker {
        Maker {
            provider: Arc::new(aws_lc_rs::default_provider()),
            client_certificates: ClientCertificates::Required,
        }
    }

    fn own(authority: &Authority) -> Arc<Own> {
        let identity = authority.sign(&Wanted::server());
        let chain = certificates_in(identity.certificate.as_bytes()).unwrap();
        let key = private_key_in(identity.key.as_bytes()).unwrap();
        let parts = [&TlsPart::Certificate, &TlsPart::Key];
        Arc::new(Own::new(chain, key, &maker().provider, parts).unwrap())
    }

    fn domain(name: &str) -> TlsPart {
        TlsPart::TrustDomain(name.to_owned())
    }

    fn roots(of: &[&Authority]) -> Vec<CertificateDer<'static>> {
        let certificates = |one: &&Authority| certificates_in(one.pem.as_bytes()).unwrap();
        of.iter().flat_map(certificates).collect()
    }

    fn broken(part: &TlsPart) -> TlsProblem {
        TlsProblem::new(part, "broken")
    }

    /// What becomes of the authorities when parts change or break: `a.test` has X and Y, `b.test` has Z.
    #[test]
    fn each_part_counts_whatever_else_is_broken() {
        let [x, y, z, new] = ["x", "y", "z", "new"].map(Authority::new);
        let (a, b) = (domain("a.test"), domain("b.test"));
        let shown = own(&x);
        let parts = |of_a: Option<&[&Authority]>, of_b: Option<&[&Authority]>| Parts {
            own: Ok(Arc::clone(&shown)),
            authorities: [(&a, of_a), (&b, of_b)]
                .map(|(part, of)| {
                    let found = of.map(roots).ok_or_else(|| broken(part));
                    (part.clone(), found)
                })
                .into(),
        };
        let (before, _) = maker().first(parts(Some(&[&x, &y]), Some(&[&z]))).unwrap();
        type Of<'a> = &'a [&'a Authority];
        type Case<'a> = (&'a str, [Option<Of<'a>>; 2], [Of<'a>; 2]);
        let cases: [Case<'_>; 7] = [
            ("all new", [Some(&[&new]), Some(&[&x])], [&[&new], &[&x]]),
            ("one broken", [None, Some(&[&z])], [&[&x, &y], &[&z]]),
            ("one gone", [Some(&[&y]), None], [&[&y], &[&z]]),
            ("one replaced", [Some(&[&new]), None], [&[&new], &[&z]]),
            // What is broken keeps nobody else's authority out.
            ("in both", [Some(&[&x, &z]), None], [&[&x, &z], &[&z]]),
            ("all replaced", [Some(&[&z]), None], [&[&z], &[&z]]),
            ("moved", [Some(&[&z]), Some(&[&y])], [&[&z], &[&y]]),
        ];
        for (what, [of_a, of_b], expected) in cases {
            let (next, problems) = maker().next(&before, parts(of_a, of_b)).unwrap();
            let breaks = [of_a, of_b].iter().filter(|of| of.is_none()).count();
            assert_eq!(problems.len(), breaks, "{what}");
            let found = next.as_ref().unwrap_or(&before);
            for (part, expected) in [&a, &b].into_iter().zip(expected) {
                let found = found.trusted.get(part).cloned().unwrap_or_default();
                assert_eq!(found, roots(expected), "{what}: {part}");
            }
        }
    }

    #[test]
    fn the_certificate_and_the_authorities_are_taken_apart_from_each_other() {
        let [x, y] = ["x", "y"].map(Authority::new);
        let a = domain("a.test");
        let parts = |own, of: &[&Authority]| Parts {
            own,
            authorities: [(a.clone(), Ok(roots(of)))].into(),
        };
        let shown = own(&x);
        let first = parts(Ok(Arc::clone(&shown)), &[&x, &y]);
        let (before, _) = maker().first(first.clone()).unwrap();
        let (next, problems) = maker().next(&before, first).unwrap();
        assert!(next.is_none() && problems.is_empty(), "nothing is new");

        let no_own = Err(vec![broken(&TlsPart::Key)]);
        let (next, problems) = maker().next(&before, parts(no_own, &[&x])).unwrap();
        let next = next.unwrap();
        assert_eq!(problems, [broken(&TlsPart::Key)]);
        assert_eq!(next.trusted[&a], roots(&[&x]));
        assert!(Arc::ptr_eq(&next.own, &shown));
        assert_ne!(next.authorities, before.authorities);

        let mut renewed = parts(Ok(own(&x)), &[]);
        renewed.authorities = [(a.clone(), Err(broken(&a)))].into();
        let (next, problems) = maker().next(&before, renewed).unwrap();
        let next = next.unwrap();
        assert_eq!(problems, [broken(&a)]);
        assert!(!Arc::ptr_eq(&next.own, &shown));
        assert_eq!(next.authorities, before.authorities);
    }

    /// At the start files have to be good, and one bundle of an agent's is enough.
    #[test]
    fn a_broken_bundle_of_another_domain_keeps_no_broker_from_starting() {
        let x = Authority::new("x");
        let shown = own(&x);
        let bundle = |name: &str| TlsPart::Bundle(name.to_owned());
        let first = |good: &TlsPart, bad: &TlsPart| {
            let good = (good.clone(), Ok(roots(&[&x])));
            let bad = (bad.clone(), Err(broken(bad)));
            maker().first(Parts {
                own: Ok(Arc::clone(&shown)),
                authorities: [good, bad].into(),
            })
        };
        let (own, partner) = (bundle("own.test"), bundle("partner.test"));
        let (material, problems) = first(&own, &partner).unwrap();
        assert_eq!(problems, [broken(&partner)]);
        assert!(material.trusted.keys().eq([&own]));
        let a = domain("a.test");
        assert_eq!(first(&own, &a).unwrap_err(), [broken(&a)]);
        assert_eq!(first(&TlsPart::ClientCa, &own).unwrap_err(), [broken(&own)]);
    }
}
