//! Where the broker listens: the values, and what must hold between them and TLS.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use socket2::{Domain, Socket, Type};

use super::{
    address,
    problem::Problems,
    settings::{AccessSettings, ListenSettings, TlsSettings},
    written::Settings,
};
use crate::{
    access::{Certificates, Ways},
    tls::{ClientCertificates, Source, Tls, TlsOptions, TlsPart},
};

/// The longest path of a Unix socket, in bytes (Linux, unix(7)).
const LONGEST_PATH: usize = 107;

/// Where the broker listens for calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At this address and port.
    Tcp(SocketAddr),
    /// At this Unix socket.
    Unix(PathBuf),
}

/// Where the broker listens, for whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// For calls.
    pub calls: Listen,
    /// The rights of a Unix socket.
    pub mode: u32,
    /// How the connections of callers are encrypted. `None`: not at all.
    pub tls: Option<TlsOptions>,
    /// For health alone, in plain text.
    pub health: Option<SocketAddr>,
    /// For `/livez`, `/readyz` and `/metrics`, in plain text.
    pub metrics: Option<SocketAddr>,
    /// What is insecure about it, if `insecure-allow-remote` allows that.
    pub hazard: Option<&'static str>,
}

impl Listen {
    /// Parses an address and a port, or `unix:/PATH`.
    ///
    /// # Errors
    /// Returns what is wrong with the text, without quoting it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix("unix:") else {
            return match text.parse() {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(_) => Err(address::what_is_wrong(text).to_owned()),
            };
        };
        let path = match path.strip_prefix("//") {
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        };
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(
                "must have the whole path of a socket, as in unix:/run/token-broker/broker.sock"
                    .to_owned(),
            );
        }
        if path.len() > LONGEST_PATH {
            return Err(format!("must have a path of at most {LONGEST_PATH} bytes"));
        }
        Ok(Self::Unix(path.into()))
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl ListenOptions {
    /// Returns how callers can be known by it.
    #[must_use]
    pub fn ways(&self) -> Ways {
        let certificates = match &self.tls {
            None => Certificates::WithoutTls,
            Some(tls) if tls.client_certificates == ClientCertificates::Off => Certificates::Off,
            Some(tls) => Certificates::Vouched {
                client_ca: tls.client_ca.is_some(),
                trust_domains: match &tls.source {
                    Source::Files { trust_domains, .. } => {
                        Some(trust_domains.keys().cloned().collect())
                    }
                    Source::WorkloadApi { .. } => None,
                },
                are_required: tls.client_certificates == ClientCertificates::Required,
            },
        };
        // Of what comes to all addresses, some may come by loopback.
        let is_loopback = match &self.calls {
            Listen::Tcp(address) => {
                let ip = address.ip().to_canonical();
                ip.is_loopback() || ip.is_unspecified()
            }
            Listen::Unix(_) => true,
        };
        Ways {
            certificates,
            bearer: self.tls.is_some() || is_loopback,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Returns where to listen, and how. Adds to `problems` where settings contradict each other, and what is wrong with the
/// files.
pub(super) fn options(
    written: &Settings,
    listen: ListenSettings,
    tls: TlsSettings,
    problems: &mut Problems,
) -> ListenOptions {
    let (listening, insecure) = (
        ListenSettings::listen,
        ListenSettings::insecure_allow_remote,
    );
    one_address_each(&listen, problems);
    if matches!(listen.listen, Listen::Tcp(_)) && written.is_set(ListenSettings::listen_mode) {
        let message =
            format!("has no effect: {listening} names no Unix socket, as unix:/PATH does");
        problems.add_together(ListenSettings::listen_mode, &[listening], message);
    }
    let tls = tls_options(written, &listen.listen, tls, problems);
    let policy = AccessSettings::policy;
    let lacks_policy = !written.is_set(policy);
    let is_open = !listen.listen.is_local() && (tls.is_none() || lacks_policy);
    if is_open && !listen.insecure_allow_remote {
        let cert = TlsSettings::tls_cert;
        let open = "anybody who reaches the broker would be served";
        let (lack, cure) = match (&tls, lacks_policy) {
            (None, false) => ("calls aren't encrypted".to_owned(), cert.to_owned()),
            (None, true) => (
                format!("calls aren't encrypted, and {open}"),
                format!("{cert} and {policy}"),
            ),
            (Some(_), _) => (open.to_owned(), policy.to_owned()),
        };
        problems.add_together(
            listening,
            &[
                insecure,
                TlsSettings::tls_cert,
                TlsSettings::tls_key,
                TlsSettings::spiffe_workload_api,
                policy,
            ],
            format!(
                "is not a loopback address, and {lack}: set {cure}, or {insecure} if the network itself keeps other \
                 callers out"
            ),
        );
    }
    let hazard = match (is_open, &tls, lacks_policy) {
        (false, ..) => None,
        (true, None, true) => {
            Some("calls are in plain text, and any caller that reaches the broker is served")
        }
        (true, None, false) => Some("calls are in plain text"),
        (true, Some(_), _) => Some("any caller that reaches the broker is served"),
    };
    ListenOptions {
        mode: listen.mode(),
        calls: listen.listen,
        tls,
        health: listen.health_listen,
        metrics: listen.metrics_listen,
        hazard,
    }
}

/// Adds a problem for each listener that has the address of another one.
fn one_address_each(listen: &ListenSettings, problems: &mut Problems) {
    let calls = match &listen.listen {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    };
    let all = [
        (ListenSettings::listen, calls),
        (ListenSettings::health_listen, listen.health_listen),
        (ListenSettings::metrics_listen, listen.metrics_listen),
    ];
    let both_families = takes_ipv4_too();
    for (at, (name, address)) in all.iter().enumerate() {
        let taken = all[..at].iter().find(|(_, other)| {
            let both = address.zip(*other);
            both.is_some_and(|(one, other)| cannot_both_listen(one, other, both_families))
        });
        if let Some((other, _)) = taken {
            let message =
                format!("has the address of {other}: each needs an address or a port of its own");
            problems.add_together(name, &[other], message);
        }
    }
}

/// Whether a listener at `[::]` gets connections over IPv4, too. Linux lets the machine decide (`net.ipv6.bindv6only`), so a
/// socket that isn't used is asked.
fn takes_ipv4_too() -> bool {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None);
    socket
        .and_then(|socket| socket.only_v6())
        .is_ok_and(|only| !only)
}

/// Whether one address is taken as soon as the broker listens at the other one. With `both_families`, `[::]` takes the port for
/// IPv4, too.
fn cannot_both_listen(one: SocketAddr, other: SocketAddr, both_families: bool) -> bool {
    // The system passes over the scope of other addresses.
    let scope = |address: SocketAddr| match address {
        SocketAddr::V6(address) if address.ip().is_unicast_link_local() => address.scope_id(),
        _ => 0,
    };
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    let is_same = ip == other_ip && scope(one) == scope(other);
    let takes = |ip: IpAddr, other: IpAddr| {
        ip.is_unspecified() && (ip.is_ipv4() == other.is_ipv4() || (both_families && ip.is_ipv6()))
    };
    let is_within = takes(ip, other_ip) || takes(other_ip, ip);
    one.port() != 0 && one.port() == other.port() && (is_same || is_within)
}

fn tls_options(
    written: &Settings,
    listen: &Listen,
    tls: TlsSettings,
    problems: &mut Problems,
) -> Option<TlsOptions> {
    let source = source(written, &tls, problems)?;
    let (ca, domains) = (TlsSettings::client_ca, TlsSettings::trust_domains);
    let (from, has_bundles) = match source {
        Source::Files { .. } => (TlsSettings::tls_cert, false),
        Source::WorkloadApi { .. } => (TlsSettings::spiffe_workload_api, true),
    };
    if matches!(listen, Listen::Unix(_)) {
        let message = format!(
            "has no effect: {} names a Unix socket, which nobody on a network reads",
            ListenSettings::listen
        );
        problems.add(from, message);
        return None;
    }
    // An agent's bundles are there whether they are needed or not.
    let has_files = tls.client_ca.is_some() || !tls.trust_domains.is_empty();
    let when = TlsSettings::client_certificates;
    let client_certificates = match tls.client_certificates {
        None if has_files || has_bundles => ClientCertificates::Required,
        None => ClientCertificates::Off,
        Some(ClientCertificates::Off) if has_files => {
            let message = format!("must not be off: {ca} or {domains} would have no effect");
            problems.add_together(when, &[ca, domains], message);
            ClientCertificates::Off
        }
        Some(ClientCertificates::Off) => ClientCertificates::Off,
        Some(wanted) => {
            if !has_files && !has_bundles {
                let message = format!("needs {ca} or {domains}: nobody vouches for a client");
                problems.add_together(when, &[ca, domains], message);
            }
            wanted
        }
    };
    let options = TlsOptions {
        source,
        client_certificates,
        client_ca: tls.client_ca,
    };
    for problem in Tls::load(options.clone(), Arc::default())
        .err()
        .into_iter()
        .flatten()
    {
        let (setting, what) = match problem.part {
            TlsPart::Certificate => (TlsSettings::tls_cert, problem.what),
            TlsPart::Key => (TlsSettings::tls_key, problem.what),
            TlsPart::ClientCa => (TlsSettings::client_ca, problem.what),
            TlsPart::TrustDomain(name) => (domains, format!("{name}: {}", problem.what)),
            TlsPart::Svid | TlsPart::Bundle(_) => (TlsSettings::spiffe_workload_api, problem.what),
        };
        problems.add(setting, what);
    }
    Some(options)
}

/// Returns where the broker's certificate comes from. `None` without TLS, or if settings contradict each other.
fn source(written: &Settings, tls: &TlsSettings, problems: &mut Problems) -> Option<Source> {
    let (cert, key) = (TlsSettings::tls_cert, TlsSettings::tls_key);
    let (agent, domains) = (TlsSettings::spiffe_workload_api, TlsSettings::trust_domains);
    if let Some(socket) = &tls.spiffe_workload_api {
        let mut is_alone = true;
        for (name, what) in [
            (cert, "the certificate"),
            (key, "the key"),
            (domains, "the authorities of trust domains"),
        ] {
            if written.is_set(name) {
                let message = format!("must not be set beside {agent}, which gives {what}");
                problems.add_together(name, &[agent], message);
                is_alone = false;
            }
        }
        return is_alone.then(|| Source::WorkloadApi {
            socket: socket.clone(),
            spiffe_id: tls.spiffe_id.clone(),
        });
    }
    if written.is_set(TlsSettings::spiffe_id) {
        let message = format!("has no effect: it needs {agent}");
        problems.add_together(TlsSettings::spiffe_id, &[agent], message);
    }
    match (&tls.tls_cert, &tls.tls_key) {
        (Some(certificate), Some(key)) => Some(Source::Files {
            certificate: certificate.clone(),
            key: key.clone(),
            trust_domains: tls.trust_domains.clone(),
        }),
        (None, None) => {
            for name in [
                TlsSettings::client_certificates,
                TlsSettings::client_ca,
                domains,
            ] {
                if written.is_set(name) {
                    let message = format!("has no effect without TLS: it needs {cert} or {agent}");
                    problems.add_together(name, &[cert, key, agent], message);
                }
            }
            None
        }
        (Some(_), None) => {
            problems.add_together(cert, &[key], format!("needs {key} too"));
            None
        }
        (None, Some(_)) => {
            problems.add_together(key, &[cert], format!("needs {cert} too"));
            None
        }
    }
}
