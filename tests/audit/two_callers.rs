//! A broker with a policy of two callers, who store and read tokens and remember what they were answered.

use std::{
    collections::BTreeSet,
    fs,
    io::{PipeReader, Read},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use testkit::{
    broker_process::BrokerProcess,
    requests::{get_request, store_request, token_request, tokens},
};
use token_broker::proto::v1::{
    self, access_tokens_client::AccessTokensClient, token_broker_client::TokenBrokerClient,
};
use tonic::{Code, Request, Status, transport::Channel};

use crate::world::{World, row};

/// The auth server, which stores and reads.
pub const AUTH: &str = "auth";
/// A sidecar, which reads, and is denied what it asks beyond that.
const PROXY: &str = "proxy";
/// How many pairs of them are at work.
const PAIRS: usize = 16;

fn token(caller: &str) -> String {
    format!("{caller}-token-of-more-than-128-bits")
}

impl World {
    /// Starts a broker with these sinks, the file of the world or `-`. Its standard output goes into a pipe.
    pub async fn start_with_policy(
        &self,
        duty: &str,
        sinks: &[&str],
    ) -> (BrokerProcess, PipeReader) {
        let hash = |caller| -> String {
            let hash = Sha256::digest(token(caller));
            hash.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let policy = format!(
            "[callers.{AUTH}]\nbearer-sha256 = [\"{}\"]\nroles = [\"auth-server\"]\nproviders = \"*\"\n\
             [callers.{PROXY}]\nbearer-sha256 = [\"{}\"]\nroles = [\"sidecar\"]\nrpcs = [\"TokenBroker/Get\"]\nproviders = \"*\"\n",
            hash(AUTH),
            hash(PROXY)
        );
        let path = self.folder().join("policy.toml");
        fs::write(&path, policy).unwrap();
        let mut own = vec!["--policy", path.to_str().unwrap(), "--audit", duty];
        own.extend(sinks.iter().flat_map(|sink| ["--audit-file", sink]));
        let settings = self.with_key(&own);
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let (reader, writer) = std::io::pipe().unwrap();
        let broker = BrokerProcess::printing_to(writer, &settings);
        broker.serving().await;
        (broker, reader)
    }
}

/// Reads a pipe to its end, which is that of the broker.
pub fn collected(mut pipe: PipeReader) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

/// What a caller was answered, as an event tells it: the caller, the RPC, the row, and which tokens.
pub type Answer = (String, String, String, String);

/// Returns what an event tells, if it is that of a call that was answered.
pub fn told(line: &str) -> Option<Answer> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_answered = line["event"] == "call"
        && line["decision"] == "allowed"
        && line["code"] == "OK"
        && line.get("answer").is_none();
    let row = &line["rows"][0];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    is_answered.then_some(())?;
    let (caller, rpc) = (text(&line["caller"])?, text(&line["rpc"])?);
    Some((caller, rpc, text(&row["row"])?, row["tokens"].to_string()))
}

/// Returns the answers that no line tells of.
pub fn missing(answers: &BTreeSet<Answer>, lines: &str) -> Vec<Answer> {
    let told: BTreeSet<_> = lines.lines().filter_map(told).collect();
    answers.difference(&told).cloned().collect()
}

/// How many denials of the sidecar lines tell of: those with events of their own, and those that are counted.
pub fn denials(lines: &str) -> (u64, u64) {
    let (mut own, mut counted) = (0, 0);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["caller"] != PROXY || line["decision"] != "denied" {
            continue;
        }
        match line["event"].as_str() {
            Some("denied-calls") => counted += line["count"].as_u64().unwrap(),
            _ => own += 1,
        }
    }
    (own, counted)
}

#[derive(Default)]
struct Notes {
    answers: Mutex<BTreeSet<Answer>>,
    denied: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

/// Pairs of the two callers, at work until they are stopped or the broker is gone.
pub struct Pairs {
    notes: Arc<Notes>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Pairs {
    /// `name` tells their sessions from those of others.
    pub async fn start(broker: &BrokerProcess, name: &str) -> Self {
        let notes = Arc::<Notes>::default();
        let mut tasks = Vec::new();
        for pair in 0..PAIRS {
            let pair = Pair {
                auth: broker.connect().await,
                proxy: broker.connect().await,
                name: format!("{name}-{pair}"),
                notes: Arc::clone(&notes),
            };
            tasks.push(tokio::spawn(pair.work()));
        }
        Self { notes, tasks }
    }

    /// Waits until so many answers came.
    pub async fn reach(&self, count: usize) {
        testkit::waiting::until("answers come", || async {
            self.notes.answers.lock().unwrap().len() >= count
        })
        .await;
    }

    /// Waits until calls of all pairs were refused because of the audit trail.
    pub async fn are_refused(&self) {
        testkit::waiting::until("calls are refused", || async {
            self.notes.refused.load(Ordering::Relaxed) >= PAIRS as u64
        })
        .await;
    }

    /// Stops them, and returns what they were answered, and how many calls were denied.
    pub async fn stop(self) -> (BTreeSet<Answer>, u64) {
        self.notes.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let denied = self.notes.denied.load(Ordering::Relaxed);
        (self.notes.answers.lock().unwrap().clone(), denied)
    }
}

struct Pair {
    auth: Channel,
    proxy: Channel,
    name: String,
    notes: Arc<Notes>,
}

impl Pair {
    async fn work(self) {
        for number in 0.. {
            if self.notes.is_over.load(Ordering::Relaxed) {
                return;
            }
            let session = format!("{}-{number}", self.name);
            if !self.store(AUTH, &session).await {
                return;
            }
            // Who reads, reads each row once, so that each answer needs an event of its own.
            let reads = tokio::join!(
                self.get(AUTH, &session),
                self.get(PROXY, &session),
                self.access_token(&session),
                self.store(PROXY, &session),
            );
            if reads != (true, true, true, true) {
                return;
            }
        }
    }

    fn client(&self, caller: &str) -> TokenBrokerClient<Channel> {
        let channel = if caller == AUTH {
            &self.auth
        } else {
            &self.proxy
        };
        TokenBrokerClient::new(channel.clone())
    }

    async fn store(&self, caller: &str, session: &str) -> bool {
        let tokens = v1::UpstreamTokens {
            refresh_token: "rt".to_owned(),
            id_token: "it".to_owned(),
            ..tokens("at", "")
        };
        let request = store_request(session, "p", tokens);
        let answer = self.client(caller).store(shown(caller, request)).await;
        self.note(answer, caller, "TokenBroker/Store", session, "null")
    }

    async fn get(&self, caller: &str, session: &str) -> bool {
        let request = get_request(session, "p");
        let answer = self.client(caller).get(shown(caller, request)).await;
        let all = r#"["access","refresh","id"]"#;
        self.note(answer, caller, "TokenBroker/Get", session, all)
    }

    async fn access_token(&self, session: &str) -> bool {
        let request = token_request(session, "p");
        let mut client = AccessTokensClient::new(self.proxy.clone());
        let answer = client.get_access_token(shown(PROXY, request)).await;
        let rpc = "AccessTokens/GetAccessToken";
        self.note(answer, PROXY, rpc, session, r#"["access"]"#)
    }

    /// Takes note of an answer. Returns whether the broker is still there.
    fn note<T>(
        &self,
        answer: Result<T, Status>,
        caller: &str,
        rpc: &str,
        session: &str,
        tokens: &str,
    ) -> bool {
        let Err(status) = answer else {
            let texts = (caller.to_owned(), rpc.to_owned());
            let answer = (texts.0, texts.1, row(session), tokens.to_owned());
            self.notes.answers.lock().unwrap().insert(answer);
            return true;
        };
        match status.code() {
            _ if status.message().contains("transport") => return false,
            Code::PermissionDenied => _ = self.notes.denied.fetch_add(1, Ordering::Relaxed),
            // It was withheld or refused, or there is no such row because the `Store` was.
            _ => _ = self.notes.refused.fetch_add(1, Ordering::Relaxed),
        }
        true
    }
}

/// A request with the credential of a caller.
pub fn shown<T>(caller: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", token(caller));
    let headers = request.metadata_mut();
    headers.insert("authorization", bearer.parse().unwrap());
    request
}
