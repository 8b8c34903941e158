//! cert-manager, played: it issues what a `Certificate` asks for, and writes the secrets that it names.

use std::collections::BTreeMap;

use aws_lc_rs::{
    encoding::{AsDer, EcPrivateKeyRfc5915Der},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use testkit::authority::{Authority, Identity, Wanted};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use yaml_rust2::Yaml;

use super::manifests::{Data, Manifests, namespace_of, string, strings};

/// Where the secrets of `ClusterIssuer`s are: its "cluster resource namespace".
const ITS_OWN: &str = "cert-manager";

pub struct CertManager {
    /// By the names of their secrets.
    pub authorities: BTreeMap<String, Authority>,
}

impl CertManager {
    /// Issues the certificates of authorities.
    pub fn start(manifests: &Manifests) -> Self {
        let certificates = manifests.all("Certificate");
        let authorities = certificates.filter(|wanted| !is_of_workload(wanted));
        let made = authorities.map(|wanted| {
            assert_eq!(namespace_of(wanted), ITS_OWN);
            let issuer = issuer_of(manifests, wanted);
            assert!(!issuer["spec"]["selfSigned"].is_badvalue(), "{issuer:?}");
            let secret = string(&wanted["spec"]["secretName"]).to_owned();
            (
                secret,
                Authority::new(string(&wanted["spec"]["commonName"])),
            )
        });
        Self {
            authorities: made.collect(),
        }
    }

    /// Renews the certificates of authorities. Whether they have other keys then is what their `Certificate`s say.
    pub fn renew_authorities(&mut self, manifests: &Manifests) {
        for (secret, authority) in &mut self.authorities {
            let mut wanted = manifests.all("Certificate");
            let wanted = wanted.find(|wanted| string(&wanted["spec"]["secretName"]) == secret);
            let spec = &wanted.unwrap()["spec"];
            match string(&spec["privateKey"]["rotationPolicy"]) {
                "Never" => authority.renew(),
                "Always" => *authority = Authority::new(string(&spec["commonName"])),
                other => panic!("{other}"),
            }
        }
    }

    /// Issues a certificate, and returns its secret.
    pub fn issue(&self, manifests: &Manifests, wanted: &Yaml) -> Data {
        let issuer = issuer_of(manifests, wanted);
        let authority = &self.authorities[string(&issuer["spec"]["ca"]["secretName"])];
        let identity = authority.sign(&as_it_says(&wanted["spec"]));
        secret(authority, &identity)
    }
}

fn issuer_of<'m>(manifests: &'m Manifests, wanted: &Yaml) -> &'m Yaml {
    let issuer = &wanted["spec"]["issuerRef"];
    assert_eq!(string(&issuer["group"]), "cert-manager.io");
    manifests.named(string(&issuer["kind"]), string(&issuer["name"]))
}

/// Reads what a `Certificate` says of a workload's certificate.
///
/// # Panics
/// Panics at what isn't played here.
fn as_it_says(spec: &Yaml) -> Wanted {
    let key = &spec["privateKey"];
    let kind = (string(&key["algorithm"]), key["size"].as_i64());
    assert_eq!(kind, ("ECDSA", Some(256)));
    let wanted = Wanted::nobody();
    let wanted = match strings(&spec["usages"])[..] {
        ["digital signature", "server auth"] => wanted.for_servers(),
        ["digital signature", "client auth"] => wanted,
        ref other => panic!("{other:?}"),
    };
    let names = strings(&spec["dnsNames"]).into_iter();
    names.fold(wanted, Wanted::dns_name)
}

/// Returns a secret as cert-manager writes it. Unless a `Certificate` says otherwise, the key of an elliptic curve is in SEC 1's
/// own form.
pub fn secret(authority: &Authority, identity: &Identity) -> Data {
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_der());
    let key: EcPrivateKeyRfc5915Der<'_> = key.unwrap().private_key().as_der().unwrap();
    let files = [
        ("tls.crt", identity.certificate.clone()),
        ("tls.key", pem("EC PRIVATE KEY", key.as_ref())),
        ("ca.crt", authority.pem.clone()),
    ];
    let files = files.into_iter();
    files
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text += str::from_utf8(line).unwrap();
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// Whether an object asks for a workload's certificate, and not an authority's.
pub fn is_of_workload(wanted: &Yaml) -> bool {
    wanted["spec"]["isCA"].is_badvalue()
}
