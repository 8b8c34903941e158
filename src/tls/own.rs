//! The broker's own certificate and its key.

use std::{fmt, sync::Arc};

use tokio_rustls::rustls::{
    Error, InconsistentKeys,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SigningKey},
};

use super::{
    chain,
    identity::Validity,
    now,
    options::{TlsPart, TlsProblem},
};

/// The broker's certificate, which its key belongs to.
pub(super) struct Own {
    pub key: Arc<CertifiedKey>,
    /// From when until when it is valid together with the intermediate ones that it needs.
    pub validity: Validity,
    /// What clients will stumble over.
    pub oddities: Vec<String>,
}

impl Own {
    /// Takes a certificate with the intermediate ones after it, and its key. `parts` names where both come from.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] if the certificate or one that it needs has expired, or the key isn't that of the certificate.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
        parts: [&TlsPart; 2],
    ) -> Result<Self, TlsProblem> {
        let [of_certificate, of_key] = parts;
        let links = chain::links(&chain, now());
        if let Some(expired) = links.iter().find(|link| link.validity.end < now()) {
            let what = match expired.place {
                0 => "the certificate has expired".to_owned(),
                place => format!(
                    "the certificate needs an intermediate one, number {} of the chain, which has expired",
                    place + 1
                ),
            };
            return Err(TlsProblem::new(of_certificate, what));
        }
        let begin = links.iter().map(|link| link.validity.begin).max();
        let end = links.iter().map(|link| link.validity.end).min();
        let oddities = chain::oddities(&chain);
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|_| TlsProblem::new(of_key, KINDS))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(match place_of(&key.key, &key.cert) {
                    Some(place) => TlsProblem::new(
                        of_certificate,
                        format!(
                            "the key is that of certificate {}, and the broker's own has to come first",
                            place + 1
                        ),
                    ),
                    None => TlsProblem::new(of_key, "the key isn't that of the certificate"),
                });
            }
            Err(error) => {
                let what = format!("the certificate can't be used: {error}");
                return Err(TlsProblem::new(of_certificate, what));
            }
        }
        Ok(Self {
            key: Arc::new(key),
            validity: Validity {
                begin: begin.unwrap_or(0),
                end: end.unwrap_or(u64::MAX),
            },
            oddities,
        })
    }
}

/// What is said of a key that TLS has no use for.
const KINDS: &str = "the key can't be used for TLS: it must be one of RSA with 2048 bits or more, of ECDSA (P-256, P-384 or \
                     P-521), or of Ed25519";

/// Returns the place of the certificate that a key belongs to.
fn place_of(key: &Arc<dyn SigningKey>, chain: &[CertificateDer<'static>]) -> Option<usize> {
    chain.iter().position(|one| {
        let alone = CertifiedKey::new(vec![one.clone()], Arc::clone(key));
        alone.keys_match().is_ok()
    })
}

/// Prints no key.
impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use testkit::authority::{Authority, Wanted};
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    use super::*;
    use crate::types::{certificates_in, private_key_in};

    const HOUR: Duration = Duration::from_secs(3600);

    fn own(chain: &str, key: &str) -> Result<Own, TlsProblem> {
        let chain = certificates_in(chain.as_bytes()).unwrap();
        let key = private_key_in(key.as_bytes()).unwrap();
        let parts = [&TlsPart::Certificate, &TlsPart::Key];
        Own::new(chain, key, &aws_lc_rs::default_provider(), parts)
    }

    /// A chain ends with the first of the certificates that it needs, and begins with the last.
    #[test]
    fn a_chain_is_good_as_long_as_all_that_it_needs() {
        let now = SystemTime::now();
        let root = Authority::until("root", now + HOUR);
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs()
        };
        let (begin, end) = (now - HOUR, now + 9 * HOUR);
        let wanted = Wanted::server().valid(begin, end);
        let good = |by: &Authority, others: &[&Authority]| {
            let identity = by.sign(&wanted);
            let others: String = others.iter().map(|other| &*other.pem).collect();
            own(&(identity.certificate + &others), &identity.key)
        };
        let later = root.intermediate("later", now + 10 * HOUR);
        let sooner = root.intermediate("sooner", now + 2 * HOUR);
        let below = sooner.intermediate("below", now + 10 * HOUR);
        let past = root.intermediate("past", now - HOUR);
        for (what, found, expected) in [
            ("the root's own end", good(&root, &[&root]), end),
            ("a longer one", good(&later, &[&later]), end),
            ("a shorter one", good(&sooner, &[&sooner]), now + 2 * HOUR),
            (
                "a shorter one further up",
                good(&below, &[&below, &sooner]),
                now + 2 * HOUR,
            ),
            (
                "one that isn't needed",
                good(&later, &[&later, &past, &sooner]),
                end,
            ),
        ] {
            let found = found.unwrap().validity;
            assert_eq!(found.begin, seconds(begin), "{what}");
            assert_eq!(found.end, seconds(expected), "{what}");
        }
        let below_past = past.intermediate("below", now + HOUR);
        for (chain, number) in [
            (good(&past, &[&past]), 2),
            (good(&below_past, &[&below_past, &past]), 3),
        ] {
            let told = chain.unwrap_err().to_string();
            let expected = format!(
                "tls-cert: the certificate needs an intermediate one, number {number} of the chain, which has expired"
            );
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_key_that_does_not_fit_is_told_with_the_setting_to_mend() {
        let root = Authority::new("root");
        let [first, second] = [(); 2].map(|()| root.sign(&Wanted::server()));
        let both = format!("{}{}", first.certificate, second.certificate);
        let told = |key: &str| own(&both, key).unwrap_err().to_string();
        assert!(own(&both, &first.key).is_ok());
        assert_eq!(
            told(&second.key),
            "tls-cert: the key is that of certificate 2, and the broker's own has to come first"
        );
        let other = root.sign(&Wanted::server()).key;
        assert_eq!(
            told(&other),
            "tls-key: the key isn't that of the certificate"
        );
        let odd = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(told(odd), format!("tls-key: {KINDS}"));
    }
}
