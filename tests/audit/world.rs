//! A broker process with an audit trail, and callers who remember what they were answered.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;
use tempfile::TempDir;
use testkit::{
    broker_process::{BrokerProcess, program},
    requests::{store_request, tokens},
};
use token_broker::{
    audit::{
        Names,
        verify::{Report, verify},
    },
    proto::v1::token_broker_client::TokenBrokerClient,
    types::{ProviderName, SessionId},
};
use tonic::{Status, transport::Channel};

/// The callers of a crowd.
pub const CALLERS: usize = 64;

/// A folder for the files of a broker.
pub struct World {
    folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("key"),
            "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n",
        )
        .unwrap();
        let world = Self { folder };
        world.give_key_the_rights(0o600);
        world
    }

    pub fn give_key_the_rights(&self, mode: u32) {
        let rights = PermissionsExt::from_mode(mode);
        fs::set_permissions(self.folder.path().join("key"), rights).unwrap();
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The settings that a broker needs for its trail, and these.
    pub fn settings(&self, more: &[&str]) -> Vec<String> {
        let path = self.path().display().to_string();
        // A machine that stands still for a second isn't a disk that does.
        let own = [
            "--audit=required",
            "--audit-timeout=20s",
            "--audit-file",
            &path,
        ];
        self.with_key(&[&own[..], more].concat())
    }

    /// These settings, and the key of the hashes.
    pub fn with_key(&self, settings: &[&str]) -> Vec<String> {
        let key = self.folder.path().join("key").display().to_string();
        let own = ["--audit-key-file", &key];
        let all = settings.iter().chain(&own);
        all.map(|&text| text.to_owned()).collect()
    }

    pub async fn start(&self, more: &[&str]) -> BrokerProcess {
        let settings = self.settings(more);
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let broker = BrokerProcess::start(&settings);
        broker.serving().await;
        broker
    }

    /// All files of the trail.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.to_string_lossy().contains("audit.jsonl"))
            .collect()
    }

    pub fn report(&self) -> Report {
        verify(&self.files(), &[]).unwrap()
    }

    /// Runs the command that verifies the files.
    pub fn verify_command(&self, more: &[&str]) -> Output {
        let mut program = program();
        program
            .args(["audit", "verify"])
            .args(more)
            .args(self.files());
        program.output().unwrap()
    }

    /// The rows that were stored, by the events of answers that weren't withheld.
    pub fn stored(&self) -> Vec<String> {
        let texts = self
            .files()
            .into_iter()
            .map(|path| fs::read_to_string(path).unwrap());
        let lines: Vec<Value> = texts
            .flat_map(|text| {
                let lines = text
                    .lines()
                    .map(serde_json::from_str)
                    .filter_map(Result::ok);
                lines.collect::<Vec<_>>()
            })
            .collect();
        let stored = lines.iter().filter(|line| {
            line["rpc"] == "TokenBroker/Store"
                && line["code"] == "OK"
                && line.get("answer").is_none()
        });
        stored
            .map(|line| line["rows"][0]["row"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Fails unless each answer has its event.
    pub fn assert_complete(&self, answered: &BTreeSet<String>) {
        let stored: BTreeSet<_> = self.stored().into_iter().collect();
        let missing: Vec<_> = answered.difference(&stored).collect();
        assert!(
            missing.is_empty(),
            "{} of {} answers have no event",
            missing.len(),
            answered.len()
        );
    }
}

/// Callers who store until they are stopped.
pub struct Crowd {
    answered: Arc<Mutex<BTreeSet<String>>>,
    stopped: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    pub async fn start(broker: &BrokerProcess) -> Self {
        let crowd = Self {
            answered: Arc::default(),
            stopped: Arc::default(),
            callers: Vec::new(),
        };
        let mut callers = Vec::new();
        for caller in 0..CALLERS {
            let mut client = broker.client().await;
            let (answered, stopped) = (Arc::clone(&crowd.answered), Arc::clone(&crowd.stopped));
            callers.push(tokio::spawn(async move {
                for number in 0.. {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let session = format!("s-{caller}-{number}");
                    match store(&mut client, &session).await {
                        Ok(()) => drop(answered.lock().unwrap().insert(row(&session))),
                        // The broker is gone.
                        Err(status) if status.message().contains("transport") => return,
                        // It refuses, or has withheld an answer.
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            }));
        }
        Self { callers, ..crowd }
    }

    /// How many answers came.
    pub fn count(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    /// Waits until so many answers came.
    pub async fn reaches(&self, count: usize) {
        testkit::waiting::until("answers come", || async { self.count() >= count }).await;
    }

    /// Stops the callers, and returns the names of the rows that they were told to be stored.
    pub async fn stop(self) -> BTreeSet<String> {
        self.stopped.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        self.answered.lock().unwrap().clone()
    }
}

pub async fn store(client: &mut TokenBrokerClient<Channel>, session: &str) -> Result<(), Status> {
    let request = store_request(session, "p", tokens("at", ""));
    client.store(request).await.map(drop)
}

pub fn row(session: &str) -> String {
    let tenant = "default:default".parse().unwrap();
    let (session, provider) = (
        SessionId::new(session).unwrap(),
        ProviderName::new("p").unwrap(),
    );
    Names::new(&[9; 32])
        .row(&tenant, &session, &provider)
        .to_string()
}
