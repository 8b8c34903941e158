//! The settings of TLS on the broker's own port.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    config::{
        syntax::{choice, file},
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
            .otherwise("required with client-ca or trust-domains, else off");
        /// Certificates (PEM) of the authorities that vouch for client certificates without a SPIFFE id
        client_ca: Option<PathBuf> = file().optional();
        /// The authorities (PEM) of a SPIFFE trust domain, as NAME=FILE, such as
        /// prod.example=/run/spiffe/bundle.pem; repeatable. They vouch for the ids of that domain, and for nothing else
        trust_domains: BTreeMap<String, PathBuf> =
            Value::list(Form::Pairs, "NAME=FILE", add_trust_domain);
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
