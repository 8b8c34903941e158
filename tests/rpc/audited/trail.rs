//! A broker with an audit trail, and what is in the trail.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tempfile::TempDir;
use token_broker::{
    access::Guard,
    audit::{
        Audit, AuditOptions, Destination, Duty, Names,
        verify::{self, Report},
    },
    config::ServerOptions,
    types::{ProviderName, SessionId, Tenant},
};

use crate::serving::{SECRET, Serving, options};

pub const KEY: [u8; 32] = [9; 32];

/// A broker with an audit trail.
pub struct Audited {
    pub serving: Serving,
    pub audit: Audit,
    pub folder: TempDir,
}

impl Audited {
    pub async fn start(guard: Guard, duty: Duty) -> Self {
        Self::start_with(guard, duty, options()).await
    }

    pub async fn start_with(guard: Guard, duty: Duty, options: ServerOptions) -> Self {
        Self::start_all(guard, duty, (options, 1_000)).await
    }

    /// Starts a broker whose trail has so many places.
    pub async fn start_at(guard: Guard, duty: Duty, places: usize) -> Self {
        Self::start_all(guard, duty, (options(), places)).await
    }

    async fn start_all(
        guard: Guard,
        duty: Duty,
        (options, places): (ServerOptions, usize),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        symlink("first", &path).unwrap();
        let audit = Audit::start(AuditOptions {
            duty,
            destinations: vec![Destination::File {
                path,
                rotation: None,
            }],
            names: Arc::new(Names::new(&KEY)),
            sync: false,
            patience: Duration::from_secs(10),
            places,
        });
        let audit = audit.unwrap();
        let serving = Serving::audited(guard, audit.clone(), options).await;
        Self {
            serving,
            audit,
            folder,
        }
    }

    pub async fn open(duty: Duty) -> Self {
        Self::start(Guard::open(tenant()), duty).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has the lines go elsewhere, in one step.
    pub fn point_to(&self, target: impl AsRef<Path>) {
        symlink(target, self.path("link")).unwrap();
        fs::rename(self.path("link"), self.path("audit.jsonl")).unwrap();
    }

    /// The events of calls since `after` lines.
    pub fn calls(&self, after: usize) -> Vec<Value> {
        let text = fs::read_to_string(self.path("first")).unwrap();
        let lines = text.lines().skip(after);
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == "call").collect()
    }

    pub fn lines(&self) -> usize {
        fs::read_to_string(self.path("first"))
            .unwrap()
            .lines()
            .count()
    }

    pub fn report(&self) -> Report {
        verify::verify(&[self.path("first")], &[]).unwrap()
    }
}

pub fn tenant() -> Tenant {
    "default:default".parse().unwrap()
}

pub fn row(session: &str, provider: &str) -> String {
    let session = SessionId::new(crate::serving::session(session)).unwrap();
    let provider = ProviderName::new(provider).unwrap();
    Names::new(&KEY)
        .row(&tenant(), &session, &provider)
        .to_string()
}

/// Fails if a text holds a secret, however it is written.
pub fn assert_no_canary(text: &str) {
    let lower = text.to_lowercase();
    let secret = SECRET.as_bytes();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.iter().map(|byte| format!("%{byte:02x}")).collect();
    let json: String = secret.iter().map(|byte| format!("\\u{byte:04x}")).collect();
    let mut forms = vec![SECRET.to_lowercase(), hex, percent, json];
    // What is left of base64 whatever stands before and behind.
    for shift in 0..3 {
        let padded = [&vec![0; shift][..], secret].concat();
        let coded = STANDARD.encode(&padded);
        let (from, to) = ((shift * 4).div_ceil(3), coded.len() - 4);
        forms.push(coded[from..to].to_lowercase());
    }
    for form in forms {
        assert!(
            form.len() >= 4 && !lower.contains(&form),
            "{form} is in:\n{text}"
        );
    }
}

#[test]
#[should_panic(expected = "is in:")]
fn a_canary_in_base64_is_found() {
    assert_no_canary(&STANDARD.encode(format!("..{SECRET}..")));
}
