//! The certificates that the broker shows: its own, and the intermediate ones that lead up to an authority of its clients.

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension};

use super::identity::{self, Validity};

/// A certificate that a client needs to verify the broker's own, or that one itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its place in the chain. The broker's own has the first one, 0.
    pub place: usize,
    pub validity: Validity,
}

/// Returns the first certificate of a chain, and those that lead up from it. An authority that signed itself isn't among them:
/// clients have it, or trust no chain that ends there. Of two that do, the one counts that is good at `now`, and longer.
pub(super) fn links(chain: &[CertificateDer<'_>], now: u64) -> Vec<Link> {
    let parsed: Vec<_> = chain.iter().map(|one| identity::parsed(one).ok()).collect();
    let link = |place| {
        let validity = identity::validity(&chain[place]);
        validity.map(|validity| Link { place, validity })
    };
    let mut links: Vec<Link> = Vec::new();
    let mut next = (!chain.is_empty()).then(|| link(0)).flatten();
    while let Some(found) = next {
        links.push(found);
        let Some(last) = parsed[found.place].as_ref().filter(|last| !is_root(last)) else {
            break;
        };
        let issuers = parsed.iter().enumerate().filter_map(|(place, one)| {
            let issuer = one.as_ref().filter(|one| signed(one, last))?;
            let is_new = links.iter().all(|link| link.place != place);
            is_new.then_some((place, issuer))
        });
        let issuers: Vec<_> = issuers.collect();
        if issuers.iter().any(|(_, issuer)| is_root(issuer)) {
            break;
        }
        let issuers = issuers.into_iter().filter_map(|(place, _)| link(place));
        next = issuers.max_by_key(|link| {
            let Validity { begin, end } = link.validity;
            (begin <= now && now <= end, end)
        });
    }
    links
}

/// Returns what clients will stumble over.
pub(super) fn oddities(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let parsed: Vec<_> = chain
        .iter()
        .filter_map(|one| identity::parsed(one).ok())
        .collect();
    let Some((own, others)) = parsed.split_first() else {
        return Vec::new();
    };
    let mut odd = Vec::new();
    let names = own.subject_alternative_name();
    if names.is_ok_and(|names| names.is_none_or(|names| names.value.general_names.is_empty())) {
        odd.push(
            "it names nobody (it has no subject alternative name), and clients refuse it"
                .to_owned(),
        );
    }
    let usage = own.extended_key_usage().ok().flatten();
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        odd.push("it isn't for servers (its extended key usage lacks serverAuth)".to_owned());
    }
    let is_useless = |one: &X509Certificate<'_>| {
        let mut signed = parsed.iter().filter(|other| signed(one, other));
        signed.all(|other| other == one)
    };
    if let Some(place) = others.iter().position(is_useless) {
        odd.push(format!(
            "certificate {} of the chain signed no other one in it: clients may miss the one that did",
            place + 2
        ));
    }
    odd
}

/// Whether `issuer` signed `certificate`, as far as names and key identifiers tell (RFC 5280, 4.2.1.1).
fn signed(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    let key = issuer
        .iter_extensions()
        .find_map(|one| match one.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key),
            _ => None,
        });
    let wanted = certificate
        .iter_extensions()
        .find_map(|one| match one.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref(),
            _ => None,
        });
    let is_the_key = key.zip(wanted).is_none_or(|(key, wanted)| key == wanted);
    issuer.subject().as_raw() == certificate.issuer().as_raw() && is_the_key
}

/// Whether a certificate is that of an authority that nobody else vouches for.
fn is_root(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use testkit::authority::{Authority, Wanted};

    use super::*;
    use crate::{tls, types::certificates_in};

    const DAY: Duration = Duration::from_secs(86_400);

    fn chain(pem: &[&str]) -> Vec<CertificateDer<'static>> {
        certificates_in(pem.concat().as_bytes()).unwrap()
    }

    fn places(pem: &[&str]) -> Vec<usize> {
        let links = links(&chain(pem), tls::now());
        links.iter().map(|link| link.place).collect()
    }

    #[test]
    fn the_certificates_that_lead_up_count_and_no_others() {
        let tomorrow = SystemTime::now() + DAY;
        let root = Authority::new("root");
        let upper = root.intermediate("upper", tomorrow);
        let lower = upper.intermediate("lower", tomorrow);
        let own = lower.sign(&Wanted::server()).certificate;
        let (root, upper, lower) = (&*root.pem, &*upper.pem, &*lower.pem);
        let stranger = Authority::new("stranger")
            .intermediate("other", tomorrow)
            .pem;
        let namesake = Authority::new("root")
            .intermediate("lower", tomorrow + 9 * DAY)
            .pem;
        for (what, pem, expected) in [
            ("alone", vec![&*own], vec![0]),
            ("in order", vec![&own, lower, upper], vec![0, 1, 2]),
            ("in another order", vec![&own, upper, lower], vec![0, 2, 1]),
            (
                "with the root",
                vec![&own, lower, upper, root],
                vec![0, 1, 2],
            ),
            ("with a gap", vec![&own, upper], vec![0]),
            ("with a stranger", vec![&own, &stranger, lower], vec![0, 2]),
            ("twice", vec![&own, lower, lower], vec![0, 2]),
            ("with a namesake", vec![&own, &namesake, lower], vec![0, 2]),
            ("a root", vec![root, &own], vec![0]),
        ] {
            assert_eq!(places(&pem), expected, "{what}");
        }
    }

    #[test]
    fn of_two_ways_up_the_one_counts_that_is_good_for_longer() {
        let now = SystemTime::now();
        let root = Authority::new("root");
        let mut ends = Vec::new();
        let lower = root.intermediate("lower", now + DAY);
        let own = lower
            .sign(&Wanted::server().valid(now - DAY, now + 9 * DAY))
            .certificate;
        for (first, second, expected) in [(3, 2, 1), (2, 3, 2)] {
            let [first, second] =
                [first, second].map(|days| root.vouch_again(&lower, now + days * DAY));
            let links = links(&chain(&[&own, &first, &second]), tls::now());
            assert_eq!(links[1].place, expected);
            ends.push(links[1].validity.end);
        }
        assert_eq!(ends[0], ends[1]);
    }

    #[test]
    fn what_clients_stumble_over_is_told() {
        let tomorrow = SystemTime::now() + DAY;
        let root = Authority::new("root");
        let lower = root.intermediate("lower", tomorrow);
        let told = |by: &Authority, wanted: &Wanted, others: &[&str]| {
            let own = by.sign(wanted).certificate;
            oddities(&chain(&[&[&*own], others].concat())).join("; ")
        };
        let server = Wanted::server();
        let uri = Wanted::nobody().uri("spiffe://a.test/b").for_servers();
        for (by, wanted, others) in [
            (&root, &server, &[][..]),
            (&root, &server, &[&*root.pem]),
            (&lower, &server, &[&*lower.pem, &root.pem]),
            (&root, &uri, &[]),
        ] {
            assert_eq!(told(by, wanted, others), "");
        }
        let other = Authority::new("stranger")
            .intermediate("other", tomorrow)
            .pem;
        for (wanted, others, expected) in [
            (
                &Wanted::nobody().for_servers(),
                &[&*lower.pem][..],
                "names nobody",
            ),
            (
                &Wanted::nobody().dns_name("a.test"),
                &[&*lower.pem],
                "isn't for servers",
            ),
            (
                &server,
                &[&*other, &lower.pem],
                "certificate 2 of the chain signed no other",
            ),
            (
                &server,
                &[&*lower.pem, &other],
                "certificate 3 of the chain signed no other",
            ),
        ] {
            let told = told(&lower, wanted, others);
            assert!(
                told.contains(expected) && !told.contains(';'),
                "{expected}: {told}"
            );
        }
    }
}
