//! Certificates for servers on this machine and for their clients. Each run makes new ones.

use std::{path::Path, sync::OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer,
    KeyPair, date_time_ymd,
};

use crate::private_file::write_private;

/// The names that the servers' certificates are for.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "redis.test"];

/// The years of a certificate that is valid in every test.
const LONG: (i32, i32) = (2000, 2100);

/// Servers are also clients of each other.
const BOTH: [Usage; 2] = [Usage::ServerAuth, Usage::ClientAuth];

/// PEM files by name.
pub struct Certificates(Vec<(&'static str, String)>);

impl Certificates {
    /// Returns the certificates that the tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// Makes the files. `ca.pem` signs `server.pem`, `client.pem`, and the certificates that no server should
    /// have: `expired.pem`, `later.pem` (not valid yet) and `clients-only.pem`. `other-ca.pem` signs
    /// `stranger.pem`. Each certificate has a `.key` file.
    fn new() -> Self {
        let (ca, ca_key, own) = authority("the authority");
        let (other_ca, _, other) = authority("another authority");
        let mut files = vec![
            ("ca.pem", ca),
            ("ca.key", ca_key),
            ("other-ca.pem", other_ca),
        ];
        let mut add = |pem, key, (certificate, private): (String, String)| {
            files.extend([(pem, certificate), (key, private)]);
        };
        add(
            "server.pem",
            "server.key",
            signed("server", &own, LONG, &BOTH),
        );
        add(
            "client.pem",
            "client.key",
            signed("client", &own, LONG, &BOTH),
        );
        add(
            "expired.pem",
            "expired.key",
            signed("expired", &own, (2000, 2001), &BOTH),
        );
        add(
            "later.pem",
            "later.key",
            signed("later", &own, (2090, 2100), &BOTH),
        );
        add(
            "clients-only.pem",
            "clients-only.key",
            signed("clients only", &own, LONG, &[Usage::ClientAuth]),
        );
        add(
            "stranger.pem",
            "stranger.key",
            signed("stranger", &other, LONG, &BOTH),
        );
        Self(files)
    }

    /// Returns all files.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        self.0.clone()
    }

    /// Writes all files to a directory.
    pub fn write_to(&self, dir: &Path) {
        for (name, text) in &self.0 {
            write_private(&dir.join(name), text);
        }
    }
}

/// Returns a certificate, its key, and what signs with them.
fn authority(name: &str) -> (String, String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, key.serialize_pem(), Issuer::new(params, key))
}

/// Returns a certificate that is valid between two years, and its key.
fn signed(
    name: &str,
    by: &Issuer<'_, KeyPair>,
    (from, until): (i32, i32),
    usages: &[Usage],
) -> (String, String) {
    let mut params = CertificateParams::new(NAMES.map(String::from)).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.extended_key_usages = usages.to_vec();
    let key = KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, by).unwrap().pem();
    (pem, key.serialize_pem())
}
