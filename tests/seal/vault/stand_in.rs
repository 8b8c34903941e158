//! A server that speaks the part of Vault's API that the broker uses: the Transit secrets engine, and two ways to log in.
//! It wraps with real AES-256-GCM, checks tokens and namespaces, and can fail in each way.
//!
//! The paths, bodies and texts are those of Vault's documentation and source. No Vault was at hand when this was written.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{
    reserved_port::ReservedPort,
    token_endpoint::{Received, read},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs as provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// What the server does with each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What Vault does.
    Works,
    /// Answers with this status and a text.
    Fails(u16, &'static str),
    /// Sends the client elsewhere.
    Redirects,
    /// Says nothing.
    Hangs,
    /// Answers more than anybody should read.
    Huge,
    /// Answers what isn't JSON.
    Garbage,
    /// Decrypts to one byte less than a key has.
    Short,
    /// Wraps something else than what it was given.
    WrapsAnother,
    /// Does everything, but decrypts for nobody.
    NoDecrypt,
}

#[derive(Default)]
struct TransitKey {
    versions: Vec<[u8; 32]>,
    least: usize,
}

struct State {
    mode: Mode,
    /// The keys of the engine, by mount and name.
    keys: BTreeMap<String, TransitKey>,
    tokens: BTreeSet<String>,
    namespace: Option<String>,
    received: Vec<Received>,
    /// The plaintexts that went through here, in base64.
    plain: Vec<String>,
}

/// The server. It ends with the test.
pub struct VaultServer {
    port: ReservedPort,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl VaultServer {
    /// Starts a server without TLS that knows the token `token`, and has the key `broker` at `transit`.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts a server with the certificate `server.pem` in `dir`.
    pub async fn start_with_tls(dir: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(dir.join("server.pem")).unwrap();
        let chain = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(acceptor: Option<TlsAcceptor>) -> Self {
        let port = ReservedPort::new();
        let listener = TcpListener::bind(port.address()).await.unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let state = Arc::new(Mutex::new(State {
            mode: Mode::Works,
            keys: BTreeMap::new(),
            tokens: ["token".to_owned()].into(),
            namespace: None,
            received: Vec::new(),
            plain: Vec::new(),
        }));
        let serving = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    match acceptor {
                        None => talk(stream, &state).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                talk(stream, &state).await;
                            }
                        }
                    }
                });
            }
        });
        let server = Self {
            port,
            scheme,
            state,
            task,
        };
        server.rotate("transit/broker");
        server
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.port.address())
    }

    /// Stops listening. Nobody else gets its address meanwhile.
    pub async fn leave(&mut self) {
        self.task.abort();
        (&mut self.task).await.ok();
    }

    /// Says what becomes of requests from now on.
    pub fn behave(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    /// Makes a key, as `mount/name`, or a new version of it.
    pub fn rotate(&self, key: &str) {
        let mut state = self.state.lock().unwrap();
        let key = state.keys.entry(key.to_owned()).or_default();
        key.versions.push(rand::random());
        key.least = key.least.max(1);
    }

    /// Has versions of a key below this one decrypt nothing.
    pub fn decrypt_from(&self, key: &str, version: usize) {
        self.state.lock().unwrap().keys.get_mut(key).unwrap().least = version;
    }

    /// Lets only these tokens in.
    pub fn know(&self, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).to_owned());
        self.state.lock().unwrap().tokens = tokens.collect();
    }

    /// Has everything in this namespace.
    pub fn live_in(&self, namespace: &str) {
        self.state.lock().unwrap().namespace = Some(namespace.to_owned());
    }

    /// Returns the requests that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// Returns the keys that went through here, in base64.
    pub fn plain(&self) -> Vec<String> {
        self.state.lock().unwrap().plain.clone()
    }

    /// Returns a key wrapped by `mount/name`, and the key in base64.
    pub fn wrap(&self, name: &str) -> (String, String) {
        let mut state = self.state.lock().unwrap();
        let plain: [u8; 32] = rand::random();
        let plain = STANDARD.encode(plain);
        let wrapped = state.keys.get_mut(name).unwrap().encrypt(&plain);
        state.plain.push(plain.clone());
        (wrapped, plain)
    }
}

impl Drop for VaultServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TransitKey {
    fn encrypt(&self, plaintext: &str) -> String {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut bytes = STANDARD.decode(plaintext).unwrap();
        cipher(self.versions.last().unwrap())
            .seal_in_place_append_tag(Nonce::from(&nonce), Aad::empty(), &mut bytes)
            .unwrap();
        let text = STANDARD.encode([&nonce[..], &bytes].concat());
        format!("vault:v{}:{text}", self.versions.len())
    }

    fn decrypt(&self, ciphertext: &str) -> Result<String, &'static str> {
        let invalid = "invalid ciphertext: no prefix";
        let rest = ciphertext.strip_prefix("vault:v").ok_or(invalid)?;
        let (version, text) = rest.split_once(':').ok_or(invalid)?;
        let version: usize = version.parse().map_err(|_| invalid)?;
        if version < self.least {
            return Err("ciphertext or signature version is disallowed by policy (too old)");
        }
        let key = self
            .versions
            .get(version - 1)
            .ok_or("invalid ciphertext: version is too new")?;
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| "invalid ciphertext: could not decode base64")?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(invalid)?;
        let mut sealed = sealed.to_vec();
        let opened = cipher(key).open_in_place(Nonce::from(nonce), Aad::empty(), &mut sealed);
        let opened = opened.map_err(|_| "cipher: message authentication failed")?;
        Ok(STANDARD.encode(opened))
    }
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap())
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &Mutex<State>) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    let mode = {
        let mut state = state.lock().unwrap();
        state.received.push(request.clone());
        state.mode
    };
    let (status, body) = match mode {
        Mode::Hangs => return std::future::pending().await,
        Mode::Huge => (200, format!("{{\"data\":\"{}\"}}", "a".repeat(1 << 20))),
        Mode::Garbage => (200, "<html>hunter2</html>".to_owned()),
        Mode::Redirects => (307, String::new()),
        Mode::Fails(status, text) => (status, json!({ "errors": [text] }).to_string()),
        Mode::Works | Mode::Short | Mode::WrapsAnother | Mode::NoDecrypt => {
            match state.lock().unwrap().answer(&request) {
                Ok(body) => (200, body.to_string()),
                Err((status, text)) => (status, json!({ "errors": [text] }).to_string()),
            }
        }
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nLocation: /v1/elsewhere\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

impl State {
    fn answer(&mut self, request: &Received) -> Result<Value, (u16, &'static str)> {
        let no_route = (404, "no handler for route. route entry not found.");
        let mut line = request.head.split(' ');
        let (method, path) = (line.next().unwrap(), line.next().unwrap());
        if request.header("x-vault-namespace") != self.namespace.as_deref() || method != "POST" {
            return Err(no_route);
        }
        let body: Value = serde_json::from_str(&request.body).map_err(|_| (400, "bad JSON"))?;
        let path: Vec<_> = path.split('/').skip(2).collect();
        match path[..] {
            ["auth", "kubernetes", "login"] => match (&body["role"], &body["jwt"]) {
                (role, jwt) if role == "token-broker" && jwt == "jwt" => Ok(self.logged_in()),
                _ => Err((403, "permission denied")),
            },
            ["auth", "approle", "login"] => match (&body["role_id"], &body["secret_id"]) {
                (role, secret) if role == "role" && secret == "secret" => Ok(self.logged_in()),
                _ => Err((400, "invalid role or secret ID")),
            },
            [mount, "datakey", "wrapped", key] => {
                if body["bits"] != 256 {
                    return Err((400, "bits"));
                }
                let plain = STANDARD.encode(rand::random::<[u8; 32]>());
                let ciphertext = self.key(request, mount, key)?.encrypt(&plain);
                self.plain.push(plain);
                Ok(json!({ "data": { "ciphertext": ciphertext, "key_version": 1 } }))
            }
            [mount, action, key] => {
                let text = |name: &str| {
                    body[name]
                        .as_str()
                        .ok_or((400, "missing"))
                        .map(str::to_owned)
                };
                let refused = |text| (400, text);
                let is_short = self.mode == Mode::Short;
                let another = STANDARD.encode([7; 32]);
                let another = (self.mode == Mode::WrapsAnother).then_some(another);
                if action == "decrypt" && self.mode == Mode::NoDecrypt {
                    return Err((403, "permission denied"));
                }
                let transit = self.key(request, mount, key)?;
                match action {
                    "encrypt" => {
                        let plain = another.unwrap_or(text("plaintext")?);
                        Ok(json!({ "data": { "ciphertext": transit.encrypt(&plain) } }))
                    }
                    "rewrap" => {
                        let plain = transit.decrypt(&text("ciphertext")?).map_err(refused)?;
                        let plain = another.unwrap_or(plain);
                        Ok(json!({ "data": { "ciphertext": transit.encrypt(&plain) } }))
                    }
                    "decrypt" => {
                        let mut plain = transit.decrypt(&text("ciphertext")?).map_err(refused)?;
                        if is_short {
                            let bytes = STANDARD.decode(&plain).unwrap();
                            plain = STANDARD.encode(&bytes[1..]);
                        }
                        self.plain.push(plain.clone());
                        Ok(json!({ "data": { "plaintext": plain } }))
                    }
                    _ => Err(no_route),
                }
            }
            _ => Err(no_route),
        }
    }

    fn logged_in(&mut self) -> Value {
        let token = format!("login-{:x}", rand::random::<u64>());
        self.tokens.insert(token.clone());
        json!({ "auth": { "client_token": token, "lease_duration": 60 } })
    }

    fn key(
        &self,
        request: &Received,
        mount: &str,
        key: &str,
    ) -> Result<&TransitKey, (u16, &'static str)> {
        let token = request.header("x-vault-token").unwrap_or_default();
        if !self.tokens.contains(token) {
            return Err((403, "permission denied"));
        }
        if !self
            .keys
            .keys()
            .any(|known| known.split('/').next() == Some(mount))
        {
            return Err((404, "no handler for route"));
        }
        let found = self.keys.get(&format!("{mount}/{key}"));
        found.ok_or((400, "encryption key not found"))
    }
}
