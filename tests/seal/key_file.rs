//! Tests a key file that can't be read for a while: on a disk that doesn't answer (a pipe without a writer hangs as well), missing,
//! or with other rights. And that the program counts what it reads again.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{
    broker_process::{BrokerProcess, program},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::{bare, key},
    sealing,
    waiting::until,
};
use token_broker::{
    meter::{Reload, Trust},
    proto::v1::GetRequest,
    seal::Keys,
};

use crate::rotation::write_private;

/// A key file with the keys `old`.
struct KeyFile {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl KeyFile {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("mounted");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("keys");
        write_private(&path, &sealing::file(&["old"]));
        Self { dir, path }
    }

    /// Puts another file in its place, in one step.
    fn replace(&self, text: &str) {
        let next = self.dir.path().join("next");
        write_private(&next, text);
        fs::rename(next, &self.path).unwrap();
    }

    /// Puts a pipe in its place. Whoever opens it waits for somebody who writes to it.
    fn hang(&self) {
        let next = self.dir.path().join("pipe");
        let made = Command::new("mkfifo").arg(&next).status().unwrap();
        assert!(made.success());
        fs::rename(next, &self.path).unwrap();
    }
}

/// Ends the waiting of those who opened the pipe: to open both ends waits for nobody.
fn release(pipe: &Path) {
    drop(fs::File::options().read(true).write(true).open(pipe));
}

fn first(keys: &Keys) -> String {
    keys.ring().sealing().unwrap().name().to_owned()
}

#[tokio::test]
async fn a_start_does_not_wait_for_a_disk_that_hangs() {
    let file = KeyFile::new();
    file.hang();
    let mut checked = program();
    checked
        .arg("--check-config")
        .arg("--seal-keys")
        .arg(&file.path);
    let output = tokio::task::spawn_blocking(move || checked.output());
    let output = tokio::time::timeout(Duration::from_secs(60), output).await;
    let output = output.expect("an end").unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("seal-keys: reading takes longer than 5 s"),
        "{told}"
    );
}

#[tokio::test]
async fn a_reading_that_hangs_holds_up_nobody_and_no_later_file() {
    let file = KeyFile::new();
    let keys = Keys::from_file(&file.path).unwrap();
    file.hang();
    let pipe = file.dir.path().join("aside");
    let begun = Instant::now();
    // Each look that is due begins a reading.
    until("a reading hangs", async || {
        let asked = Instant::now();
        assert_eq!(first(&keys), "old");
        assert!(asked.elapsed() < Duration::from_millis(500));
        begun.elapsed() > Duration::from_millis(1_500)
    })
    .await;
    fs::hard_link(&file.path, &pipe).unwrap();
    file.replace(&sealing::file(&["new", "old"]));
    until("the next file is read", async || first(&keys) == "new").await;
    // What the reading that hung finds at last changes nothing for long.
    release(&pipe);
    until("the file is in force", async || first(&keys) == "new").await;
}

#[tokio::test]
async fn a_change_after_an_error_that_passes_is_taken() {
    let file = KeyFile::new();
    let keys = Keys::from_file(&file.path).unwrap();
    let trust = Arc::new(Trust::default());
    keys.tell(&trust);
    let reloads = trust.reloads(Reload::SealingKeys);
    let failed = async |count: u64| {
        until("it is counted", async || {
            assert_eq!(first(&keys), "old");
            reloads.failed.get() >= count
        })
        .await;
        assert_eq!(reloads.failed.get(), count);
    };
    // The very file comes back, and goes again, with the folder that it is in: a second outage is another one.
    let (folder, aside) = (
        file.dir.path().join("mounted"),
        file.dir.path().join("aside"),
    );
    fs::rename(&folder, &aside).unwrap();
    failed(1).await;
    fs::rename(&aside, &folder).unwrap();
    let back = Instant::now();
    until("it was looked at", async || {
        drop(keys.ring());
        back.elapsed() > Duration::from_millis(2_500)
    })
    .await;
    fs::rename(&folder, &aside).unwrap();
    failed(2).await;
    fs::create_dir(&folder).unwrap();
    file.replace(&sealing::file(&["new", "old"]));
    until("the new file is read", async || first(&keys) == "new").await;
    assert_eq!((reloads.done.get(), reloads.failed.get()), (1, 2));
}

/// Returns a number of the program's metrics.
fn metric(at: SocketAddr, name: &str) -> u64 {
    let mut stream = TcpStream::connect(at).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_counts_the_keys_that_it_reads_again() {
    let redis = RedisServer::start();
    let tenant = RedisTenant::on(&redis);
    let at = key("s", "p");
    tenant.sealed_broker(&["old"]).put(&at, &bare("at")).await;
    let file = KeyFile::new();
    let broker = BrokerProcess::start(&[
        "--redis-url",
        &redis.url(),
        "--tenant",
        &tenant.name().to_string(),
        "--seal-keys",
        file.path.to_str().unwrap(),
        "--metrics-listen",
        "127.0.0.1:0",
    ]);
    broker.serving().await;
    let client = broker.client().await;
    let metrics = broker.logged_address("metrics_address");
    let reloads = |outcome: &str| {
        let name = "token_broker_reloads_total{what=\"sealing_keys\",outcome=";
        metric(metrics, &format!("{name}\"{outcome}\"}}"))
    };
    assert_eq!((reloads("done"), reloads("failed")), (0, 0));
    file.replace("broken");
    for (text, outcome) in [
        (None, "failed"),
        (Some(sealing::file(&["new", "old"])), "done"),
    ] {
        if let Some(text) = text {
            file.replace(&text);
        }
        until("it is counted", async || {
            let request = GetRequest {
                session_id: "s".to_owned(),
                provider: "p".to_owned(),
                binding: None,
            };
            client.clone().get(request).await.unwrap();
            reloads(outcome) == 1
        })
        .await;
    }
    assert_eq!((reloads("done"), reloads("failed")), (1, 1));
    assert_eq!(metric(metrics, "token_broker_sealing_keys"), 2);
}
