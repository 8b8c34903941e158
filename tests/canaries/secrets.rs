//! The secrets that are planted, new ones in each run.

use std::{collections::BTreeMap, fmt::Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use rand::RngExt;
use sha2::{Digest, Sha256};
use testkit::{
    authority::{Authority, Identity, Wanted},
    canary::Canary,
};
use token_broker::{
    seal::MasterKey,
    types::{KeyName, SecretBytes},
};

/// What Redis has in the names of keys.
pub const SESSION: &str = "session id";
pub const STATE: &str = "state";
/// What the test itself writes into Redis, where rows and records were.
pub const DAMAGE: &str = "damage";

/// The secrets of a run.
pub struct Secrets {
    pub access: String,
    pub refresh: String,
    pub id: String,
    /// What the provider answers with.
    pub new_access: String,
    pub new_refresh: String,
    pub session: String,
    /// What an auth server keeps while a user is at a provider.
    pub payload: String,
    pub state: String,
    pub damage: [String; 2],
    pub bearer: String,
    /// What nobody knows.
    pub wrong_bearer: String,
    pub client_secret: String,
    pub redis_password: String,
    /// What the collector of traces is shown.
    pub collector_token: String,
    pub audit_key: Vec<u8>,
    sealing_key: Vec<u8>,
    /// The broker's own certificate and key, and those that it shows a provider.
    pub server: Identity,
    pub client: Identity,
}

impl Secrets {
    pub fn new(authority: &Authority) -> Self {
        Self {
            access: odd(),
            refresh: odd(),
            id: odd(),
            new_access: odd(),
            new_refresh: odd(),
            session: letters(32),
            payload: odd(),
            state: letters(32),
            damage: [odd(), odd()],
            bearer: letters(43),
            wrong_bearer: letters(43),
            client_secret: odd(),
            redis_password: letters(32),
            collector_token: letters(43),
            audit_key: rand::random::<[u8; 32]>().to_vec(),
            sealing_key: rand::random::<[u8; 32]>().to_vec(),
            server: authority.sign(&Wanted::server()),
            client: authority.sign(&Wanted::nobody()),
        }
    }

    /// Returns everything that is looked for.
    pub fn canaries(&self) -> Vec<Canary> {
        vec![
            Canary::new("access token", &*self.access),
            Canary::new("access token", &*self.new_access),
            Canary::new("refresh token", &*self.refresh),
            Canary::new("refresh token", &*self.new_refresh),
            Canary::new("ID token", &*self.id),
            Canary::new(SESSION, &*self.session),
            Canary::new("payload", &*self.payload),
            Canary::new(STATE, &*self.state),
            Canary::new(DAMAGE, &*self.damage[0]),
            Canary::new(DAMAGE, &*self.damage[1]),
            Canary::new("bearer token", &*self.bearer),
            Canary::new("bearer token", &*self.wrong_bearer),
            Canary::new("client secret", &*self.client_secret),
            Canary::new("Redis password", &*self.redis_password),
            Canary::new("collector token", &*self.collector_token),
            Canary::new("audit key", &*self.audit_key),
            Canary::new("sealing key", &*self.sealing_key),
            Canary::new("private key", private(&self.server)),
            Canary::new("private key", private(&self.client)),
        ]
    }

    /// Returns a part of a secret of each kind, which may stand where a name does.
    pub fn names(&self) -> BTreeMap<&'static str, String> {
        let named = |canary: Canary| {
            let text = String::from_utf8(canary.secret);
            let text = text.unwrap_or_else(|binary| hex(binary.as_bytes()));
            (canary.kind, text[..30].to_owned())
        };
        self.canaries().into_iter().map(named).collect()
    }

    /// Returns the sealing key.
    pub fn master_key(&self) -> MasterKey {
        let bytes = SecretBytes::new(self.sealing_key.clone());
        MasterKey::new(&KeyName::new("k").unwrap(), bytes).unwrap()
    }

    /// Returns the line of the key file.
    pub fn sealing_line(&self) -> String {
        String::from_utf8(self.master_key().line().to_vec()).unwrap()
    }

    /// Returns the hash that the policy has.
    pub fn bearer_sha256(&self) -> String {
        hex(&Sha256::digest(self.bearer.as_bytes()))
    }
}

/// Returns the secret part of a key on P-256: the rest of the file is in certificates, too.
fn private(identity: &Identity) -> Vec<u8> {
    let lines = identity.key.lines().filter(|line| !line.contains("---"));
    let der = STANDARD.decode(lines.collect::<String>()).unwrap();
    // PKCS #8, RFC 5958, around the ECPrivateKey of RFC 5915.
    assert_eq!(der[34..36], [4, 32], "32 bytes follow");
    der[36..68].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn letters(count: usize) -> String {
    let mut random = rand::rng();
    let all = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let one = |_| char::from(all[random.random_range(0..all.len())]);
    (0..count).map(one).collect()
}

/// Returns a text with characters that JSON and URLs escape, so that the escapes split it.
fn odd() -> String {
    let parts: Vec<_> = (0..5).map(|_| letters(9)).collect();
    parts.join("\"/+\\")
}
