//! Authorities of a test, and certificates as they are wanted.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

/// An authority, which signs certificates.
pub struct Authority {
    /// Its own certificate, in PEM.
    pub pem: String,
    params: CertificateParams,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// What a certificate says.
#[derive(Clone)]
pub struct Wanted {
    uris: Vec<String>,
    dns_names: Vec<String>,
    usages: Vec<Usage>,
    may_sign: bool,
    valid: (SystemTime, SystemTime),
}

const DAY: Duration = Duration::from_secs(86_400);

impl Wanted {
    /// Returns what a server on this machine needs.
    pub fn server() -> Self {
        Self {
            usages: vec![Usage::ServerAuth],
            ..Self::nobody().dns_name("localhost").dns_name("broker.test")
        }
    }

    /// Returns a client without a name.
    pub fn nobody() -> Self {
        let now = SystemTime::now();
        Self {
            uris: Vec::new(),
            dns_names: Vec::new(),
            usages: vec![Usage::ClientAuth],
            may_sign: false,
            valid: (now - DAY, now + DAY),
        }
    }

    /// Adds a URI, such as a SPIFFE id.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        self.uris.push(uri.to_owned());
        self
    }

    /// Adds a DNS name.
    #[must_use]
    pub fn dns_name(mut self, name: &str) -> Self {
        self.dns_names.push(name.to_owned());
        self
    }

    /// Allows the key to sign certificates.
    #[must_use]
    pub fn who_may_sign(mut self) -> Self {
        self.may_sign = true;
        self
    }

    /// Makes it a server's certificate alone.
    #[must_use]
    pub fn for_servers(mut self) -> Self {
        self.usages = vec![Usage::ServerAuth];
        self
    }

    /// Sets how long it is valid.
    #[must_use]
    pub fn valid(mut self, from: SystemTime, until: SystemTime) -> Self {
        self.valid = (from, until);
        self
    }
}

impl Authority {
    /// Makes an authority.
    pub fn new(name: &str) -> Self {
        Self::of(name, CertificateParams::default())
    }

    /// Makes an authority whose own certificate is valid until then.
    pub fn until(name: &str, end: SystemTime) -> Self {
        let mut params = CertificateParams::default();
        params.not_after = end.into();
        Self::of(name, params)
    }

    fn of(name: &str, mut params: CertificateParams) -> Self {
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params.clone(), key),
            params,
        }
    }

    /// Replaces its certificate by another one for the same key.
    pub fn renew(&mut self) {
        self.params.serial_number = Some(rand::random::<u64>().into());
        self.pem = self.params.self_signed(self.issuer.key()).unwrap().pem();
    }

    /// Makes an authority that this one vouches for, until then.
    #[must_use]
    pub fn intermediate(&self, name: &str, end: SystemTime) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (SystemTime::now() - 2 * DAY).into();
        params.not_after = end.into();
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params.clone(), key),
            params,
        }
    }

    /// Vouches again for an intermediate authority, until then. Returns its new certificate.
    pub fn vouch_again(&self, other: &Self, end: SystemTime) -> String {
        let mut params = other.params.clone();
        params.not_after = end.into();
        let signed = params.signed_by(other.issuer.key(), &self.issuer);
        signed.unwrap().pem()
    }

    /// Signs a certificate.
    pub fn sign(&self, wanted: &Wanted) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "holder");
        let uris = wanted.uris.iter();
        let uris = uris.map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        let names = wanted.dns_names.iter();
        let names = names.map(|name| SanType::DnsName(name.as_str().try_into().unwrap()));
        params.subject_alt_names = uris.chain(names).collect();
        if wanted.dns_names.iter().any(|name| name == "localhost") {
            let ip = SanType::IpAddress([127, 0, 0, 1].into());
            params.subject_alt_names.push(ip);
        }
        params.not_before = wanted.valid.0.into();
        params.not_after = wanted.valid.1.into();
        params.extended_key_usages.clone_from(&wanted.usages);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if wanted.may_sign {
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// Writes `NAME.pem`, and `NAME.key` for its owner alone.
    pub fn write_to(&self, dir: &Path, name: &str) {
        fs::write(dir.join(format!("{name}.pem")), &self.certificate).unwrap();
        let key = dir.join(format!("{name}.key"));
        fs::write(&key, &self.key).unwrap();
        fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    }
}
