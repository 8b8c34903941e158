//! The settings of TLS on the broker's own port.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    config::{
        listen::Listen,
        syntax::{Syntax, choice, file, parsed},
        value::{Form, Value},
    },
    tls::ClientCertificates,
    types::SpiffeId,
};

const WHEN: [(&str, ClientCertificates); 3] = [
    ("off", ClientCertificates::Off),
    ("optional", ClientCertificates::Optional),
    ("required", ClientCertificates::Required),
];

settings! {
    /// TLS on the broker's own port.
    #[derive(Clone, Debug)]
    pub(in crate::config) struct TlsSettings in "TLS" {
        /// The broker's certificate (PEM), with intermediate ones after it. Serves TLS; read again when it
        /// changes, like all files of TLS
        tls_cert: Option<PathBuf> = file().optional();
        /// The private key (PEM) of `tls-cert`; only its owner and group may read it
        tls_key: Option<PathBuf> = file().optional();
        /// Whether clients show certificates: `off`, `optional` (one that is shown has to be good) or
        /// `required`
        client_certificates: Option<ClientCertificates> = choice("WHEN", &WHEN)
            .optional()
            .otherwise("required with client-ca, trust-domains or spiffe-workload-api, else off");
        /// Certificates (PEM) of the authorities that vouch for client certificates without a SPIFFE id
        client_ca: Option<PathBuf> = file().optional();
        /// The authorities (PEM) of a SPIFFE trust domain, as NAME=FILE, such as
        /// prod.example=/run/spiffe/bundle.pem; repeatable. They vouch for the ids of that domain, and for nothing else
        trust_domains: BTreeMap<String, PathBuf> =
            Value::list(Form::Pairs, "NAME=FILE", add_trust_domain);
        /// The socket of SPIFFE's Workload API, such as unix:/run/spire/sockets/agent.sock. Serves TLS with the
        /// certificate, key and trust domains that its agent gives, instead of `tls-cert`, `tls-key` and `trust-domains`
        spiffe_workload_api: Option<PathBuf> = Syntax::trimmed("unix:/PATH", workload_api).optional();
        /// The SPIFFE id of the certificate to show, if the agent of `spiffe-workload-api` gives several
        spiffe_id: Option<SpiffeId> = parsed("ID").optional().otherwise("the first that the agent gives");
    }
}

fn workload_api(text: &str) -> Result<PathBuf, String> {
    if text.starts_with("tcp:") {
        return Err(
            "must be unix:/PATH: over TCP the private key would be in plain text on a network"
                .to_owned(),
        );
    }
    match Listen::parse(text) {
        Ok(Listen::Unix(path)) => Ok(path),
        Ok(Listen::Tcp(_)) => Err("must be unix:/PATH".to_owned()),
        Err(_) if !text.starts_with("unix:") => Err("must be unix:/PATH".to_owned()),
        Err(what) => Err(what),
    }
}

fn add_trust_domain(
    domains: &mut BTreeMap<String, PathBuf>,
    text: &str,
) -> Result<(), &'static str> {
    let parts = text.split_once('=').filter(|(_, file)| !file.is_empty());
    let (name, file) =
        parts.ok_or("must be NAME=FILE, as in prod.example=/run/spiffe/bundle.pem")?;
    if !SpiffeId::is_trust_domain(name) {
        return Err(
            "must name a trust domain as in prod.example, without spiffe://, in small letters, digits, \
             dots, hyphens and underscores",
        );
    }
    match domains.insert(name.to_owned(), file.into()) {
        None => Ok(()),
        Some(_) => Err("names a trust domain for the second time"),
    }
}
