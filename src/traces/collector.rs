//! The collector, and how it is reached: by gRPC, in plain text or over TLS.

use std::{fmt, net::IpAddr, time::Duration};

use http::{Uri, uri::Scheme};
use tokio_rustls::rustls::RootCertStore;
use tonic::{
    metadata::{Ascii, MetadataKey, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::types::{Secret, certificates_in, without_mark};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

type Header = (MetadataKey<Ascii>, MetadataValue<Ascii>);

/// A collector that takes spans by OTLP over gRPC.
#[derive(Clone)]
pub struct Collector {
    endpoint: Endpoint,
    header: Option<Header>,
}

/// What is wrong with the settings of a collector. The texts quote nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorProblem {
    /// With its address.
    Address(String),
    /// With the authorities that vouch for it.
    Authorities(String),
    /// With the header.
    Header(String),
}

impl Collector {
    /// Returns the collector at `address`, a URL such as `https://collector:4317`, for which the authorities in `ca` (PEM)
    /// vouch, or the system's. Each request has `header`, such as `authorization: Bearer ...`, which is a secret.
    ///
    /// # Errors
    /// Returns what is wrong with one of them.
    pub fn new(
        address: &str,
        ca: Option<&[u8]>,
        header: Option<&Secret>,
    ) -> Result<Self, CollectorProblem> {
        let (uri, is_encrypted) = parse(address).map_err(|what| {
            CollectorProblem::Address(format!("{what}, like http://127.0.0.1:4317"))
        })?;
        let unusable = |_| CollectorProblem::Address("can't be used".to_owned());
        let endpoint = Endpoint::new(uri.clone()).map_err(unusable)?;
        let endpoint = match (is_encrypted, ca) {
            (true, ca) => {
                let tls = match ca {
                    Some(pem) => {
                        check(pem).map_err(CollectorProblem::Authorities)?;
                        let pem = Certificate::from_pem(without_mark(pem));
                        ClientTlsConfig::new().ca_certificate(pem)
                    }
                    None => ClientTlsConfig::new().with_native_roots(),
                };
                let unusable = |_| match ca {
                    Some(_) => CollectorProblem::Authorities("can't be used".to_owned()),
                    None => CollectorProblem::Authorities(
                        "must be set: the system has no authorities".to_owned(),
                    ),
                };
                endpoint.tls_config(tls).map_err(unusable)?
            }
            (false, Some(_)) => {
                let what = "has no effect: the collector's address isn't an https one";
                return Err(CollectorProblem::Authorities(what.to_owned()));
            }
            (false, None) => endpoint,
        };
        let header = header.map(parse_header).transpose();
        let header = header.map_err(|what| CollectorProblem::Header(what.to_owned()))?;
        if header.is_some() && !is_encrypted && !is_local(&uri) {
            let what = "would be sent in plain text: the collector's address must be an https one, or a loopback address";
            return Err(CollectorProblem::Header(what.to_owned()));
        }
        Ok(Self {
            endpoint: endpoint.connect_timeout(CONNECT),
            header,
        })
    }

    /// Returns the way to it. It is connected to when there is something to send. Runs in a runtime alone.
    pub(super) fn channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    /// Returns the header that each request has.
    pub(super) fn header(&self) -> Option<Header> {
        self.header.clone()
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// Returns the address, and whether it is reached over TLS.
fn parse(text: &str) -> Result<(Uri, bool), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "must be a URL")?;
    let is_encrypted = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err("must begin with http:// or https://"),
    };
    let authority = uri.authority().ok_or("must have a host and a port")?;
    if authority.as_str().contains('@') {
        return Err("must not have a user");
    }
    if authority.host().is_empty() || authority.port_u16().is_none() {
        return Err("must have a host and a port");
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("must have nothing behind the port: OTLP is spoken by gRPC");
    }
    Ok((uri, is_encrypted))
}

fn is_local(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Checks that a file holds authorities, and nothing that would silently be left out.
fn check(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    let found = certificates_in(pem)?.into_iter();
    let mut added = found.map(|certificate| roots.add(certificate));
    match added.all(|added| added.is_ok()) {
        true => Ok(()),
        false => Err("a certificate in the file can't be used".to_owned()),
    }
}

fn parse_header(line: &Secret) -> Result<Header, &'static str> {
    let form = "must be the path of a file that holds one header, like `authorization: Bearer ...`";
    let (name, value) = line.expose().split_once(':').ok_or(form)?;
    let name = name.to_ascii_lowercase();
    // gRPC's own headers aren't to be replaced.
    if name.starts_with("grpc-") || matches!(&*name, "te" | "content-type" | "user-agent") {
        return Err("the header in the file is one of gRPC's own");
    }
    let name = MetadataKey::from_bytes(name.as_bytes()).map_err(|_| form)?;
    let mut value: MetadataValue<Ascii> = value.trim().parse().map_err(|_| form)?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned()).unwrap()
    }

    #[test]
    fn an_address_is_a_url_with_a_port_and_nothing_else() {
        for right in [
            "http://127.0.0.1:4317",
            "http://[::1]:4317/",
            "http://collector:4317",
        ] {
            Collector::new(right, None, None).unwrap();
        }
        for wrong in [
            "",
            "collector:4317",
            "collector",
            "grpc://collector:4317",
            "http://collector",
            "http://:4317",
            "http://user:hunter2@collector:4317",
            "http://collector:4317/v1/traces",
            "http://collector:4317?hunter2",
        ] {
            let problem = Collector::new(wrong, None, None).unwrap_err();
            let CollectorProblem::Address(what) = &problem else {
                panic!("{wrong}: {problem:?}");
            };
            assert!(
                what.starts_with("must") && !what.contains("hunter2"),
                "{what}"
            );
        }
    }

    #[test]
    fn a_header_is_sent_to_this_machine_or_over_tls() {
        let header = secret("Authorization: Bearer hunter2");
        for (address, may) in [
            ("http://127.0.0.1:4317", true),
            ("http://[::1]:4317", true),
            ("http://localhost:4317", true),
            ("http://collector:4317", false),
            ("http://10.0.0.1:4317", false),
        ] {
            let made = Collector::new(address, None, Some(&header));
            assert_eq!(made.is_ok(), may, "{address}");
            if let Ok(made) = made {
                let (name, value) = made.header().unwrap();
                assert_eq!(
                    (name.as_str(), value.to_str().unwrap()),
                    ("authorization", "Bearer hunter2")
                );
                assert!(!format!("{made:?}{value:?}").contains("hunter2"));
            }
        }
        for wrong in [
            "hunter2",
            "a b: hunter2",
            ": hunter2",
            "te: hunter2",
            "grpc-timeout: 1S",
            "a: é\u{7f}",
        ] {
            let problem = Collector::new("http://[::1]:1", None, Some(&secret(wrong))).unwrap_err();
            assert!(
                matches!(&problem, CollectorProblem::Header(what) if !what.contains("hunter2")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn authorities_are_certificates_that_are_used() {
        let made = |address, ca: &str| Collector::new(address, Some(ca.as_bytes()), None);
        for ca in [
            "",
            "hunter2",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let problem = made("https://collector:4317", ca).unwrap_err();
            assert!(
                matches!(problem, CollectorProblem::Authorities(_)),
                "{problem:?}"
            );
        }
        let CollectorProblem::Authorities(what) = made("http://[::1]:1", "").unwrap_err() else {
            panic!("another problem");
        };
        assert!(what.contains("no effect"), "{what}");
    }
}
