//! Certificates for servers on this machine and for their clients. Each run makes new ones.

use std::{fs, path::Path, sync::OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// The names that the servers' certificates are for.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "redis.test"];

/// PEM files by name.
pub struct Certificates(Vec<(&'static str, String)>);

impl Certificates {
    /// Returns the certificates that the tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// Makes the files. `ca.pem` signs `server.pem`, `client.pem` and `expired.pem`. `other-ca.pem`
    /// signs `stranger.pem`. Each certificate except the authorities has a `.key` file.
    fn new() -> Self {
        let (ca, own) = authority("the authority");
        let (other_ca, other) = authority("another authority");
        let mut files = vec![("ca.pem", ca), ("other-ca.pem", other_ca)];
        let mut add = |pem, key, (certificate, private): (String, String)| {
            files.extend([(pem, certificate), (key, private)]);
        };
        add("server.pem", "server.key", signed("server", &own, 2100));
        add("client.pem", "client.key", signed("client", &own, 2100));
        add("expired.pem", "expired.key", signed("expired", &own, 2001));
        add(
            "stranger.pem",
            "stranger.key",
            signed("stranger", &other, 2100),
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
            fs::write(dir.join(name), text).unwrap();
        }
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

/// Returns a certificate and its key.
fn signed(name: &str, by: &Issuer<'_, KeyPair>, until: i32) -> (String, String) {
    let mut params = CertificateParams::new(NAMES.map(String::from)).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    // Servers are also clients of each other.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, by).unwrap().pem();
    (pem, key.serialize_pem())
}
