//! Tests a key file that can't be read for a while: a pipe in its place (whoever opens one as usual waits for ever), missing, or with
//! other rights. What the keys of the file have to be. And that the program counts what it reads again.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{
    broker_process::{BrokerProcess, output, program},
    captured_log::CapturedLog,
    private_file::write_private,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    sealing,
    waiting::until,
};
use token_broker::{
    meter::{KeyChange, Reload, Trust},
    seal::{Demands, Keys},
};

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
        write_private(&path, sealing::file(&["old"]));
        Self { dir, path }
    }

    /// Puts another file in its place, in one step.
    fn replace(&self, text: &str) {
        let next = self.dir.path().join("next");
        write_private(&next, text);
        fs::rename(next, &self.path).unwrap();
    }

    /// Puts a pipe in its place. Whoever opens it as usual waits for somebody who writes to it.
    fn put_a_pipe(&self) {
        let next = self.dir.path().join("pipe");
        let made = Command::new("mkfifo").arg(&next).status().unwrap();
        assert!(made.success());
        fs::rename(next, &self.path).unwrap();
    }
}

fn first(keys: &Keys) -> String {
    keys.ring().sealing().unwrap().name().to_owned()
}

#[tokio::test]
async fn a_start_does_not_wait_for_a_pipe() {
    let file = KeyFile::new();
    file.put_a_pipe();
    let (code, told) = checked(&file, &[]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("seal-keys: the file can't be read: it is a pipe"),
        "{told}"
    );
}

/// Returns the exit code of `--check-config` with this key file, and what it says.
async fn checked(file: &KeyFile, more: &[&str]) -> (Option<i32>, String) {
    let mut checked = program();
    checked.arg("--check-config").args(more);
    checked.arg("--seal-keys").arg(&file.path);
    let output = tokio::time::timeout(Duration::from_secs(60), output(checked)).await;
    let output = output.expect("an end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), told)
}

/// More pipes than readings may hang: none of them is waited for, and what comes after them counts.
#[tokio::test]
async fn pipes_in_the_place_of_the_file_hold_up_nobody_and_no_later_file() {
    let file = KeyFile::new();
    let keys = sealing::followed(Keys::from_file(&file.path).unwrap());
    let trust = Arc::new(Trust::default());
    keys.tell(&trust);
    let failed = &trust.reloads(Reload::SealingKeys).failed;
    for pipes in 1..=6 {
        file.put_a_pipe();
        let begun = Instant::now();
        // Each look begins a reading.
        until("it is looked at", async || {
            let asked = Instant::now();
            assert_eq!(first(&keys), "old");
            // Who waited for a pipe would wait for ever.
            assert!(asked.elapsed() < Duration::from_secs(10));
            begun.elapsed() > Duration::from_millis(1_100)
        })
        .await;
        assert!(failed.get() <= 1, "told again after {pipes}");
    }
    assert_eq!(failed.get(), 1);
    file.replace(&sealing::file(&["new", "old"]));
    until("the next file is read", async || first(&keys) == "new").await;
}

/// Who writes the key file doesn't choose the key that seals, where the settings say what keys there may be.
#[tokio::test]
async fn a_key_that_nobody_listed_is_refused_at_the_start_and_later() {
    let file = KeyFile::new();
    let prints = |names: &[&str]| {
        let ids = names.iter().map(|name| sealing::key(name).id().clone());
        ids.map(|id| id.print()).collect::<Vec<_>>()
    };
    let [old, other] = [
        prints(&["old"])[0].to_string(),
        prints(&["other"])[0].to_string(),
    ];
    let option = "--seal-key-fingerprints";
    let listed = checked(&file, &[option, &format!("old.{old}")]).await;
    assert_eq!(listed.0, Some(0), "{}", listed.1);
    let (code, told) = checked(&file, &[option, &other]).await;
    assert_eq!(code, Some(2), "{told}");
    let expected = format!(
        "seal-keys: a key has the fingerprint {old}, which seal-key-fingerprints doesn't list"
    );
    assert!(told.contains(&expected), "{told}");
    let (code, told) = checked(&file, &[option, "old"]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("must be the fingerprint of a key"), "{told}");

    let demands = Demands {
        fingerprints: prints(&["old", "new"]),
        ..Demands::default()
    };
    let keys = sealing::followed(Keys::read(&file.path, None, demands).unwrap());
    let trust = Arc::new(Trust::default());
    keys.tell(&trust);
    let reloads = trust.reloads(Reload::SealingKeys);
    // Neither in front nor behind, from where the next change could take it.
    for names in [&["other", "old"], &["old", "other"]] {
        let before = reloads.failed.get();
        file.replace(&sealing::file(names));
        until("it is refused", async || {
            assert_eq!(keys.ring().ids().count(), 1);
            reloads.failed.get() > before
        })
        .await;
    }
    file.replace(&sealing::file(&["new", "old"]));
    until("a listed one is taken", async || first(&keys) == "new").await;
}

#[tokio::test]
async fn a_plain_key_is_refused_where_all_have_to_be_wrapped() {
    let file = KeyFile::new();
    let vault = [
        "--vault-address",
        "https://vault.example:8200",
        "--vault-key",
        "broker",
        "--vault-token-file",
        "/nonexistent",
    ];
    let (code, told) = checked(&file, &vault).await;
    assert_eq!(code, Some(0), "{told}");
    let demanded = [&vault[..], &["--require-wrapped"]].concat();
    let (code, told) = checked(&file, &demanded).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("seal-keys: line 1: the key is not wrapped"),
        "{told}"
    );
    let (code, told) = checked(&file, &["--require-wrapped"]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("require-wrapped: needs vault-address"),
        "{told}"
    );
    let mixed = format!("w vault:v1:AAAA\n{}", sealing::file(&["old"]));
    file.replace(&mixed);
    let (code, told) = checked(&file, &demanded).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("seal-keys: line 2: the key is not wrapped"),
        "{told}"
    );
    file.replace("w vault:v1:AAAA\n");
    let (code, told) = checked(&file, &demanded).await;
    assert_eq!(code, Some(0), "{told}");
}

/// Who changes keys as the documentation says appends a new one first.
#[tokio::test]
async fn another_key_that_seals_is_counted_by_whether_it_was_there_before() {
    let file = KeyFile::new();
    let keys = sealing::followed(Keys::from_file(&file.path).unwrap());
    let trust = Arc::new(Trust::default());
    keys.tell(&trust);
    let changes = || {
        let of = |to| trust.sealing_key_changes(to).get();
        (of(KeyChange::Known), of(KeyChange::Unknown))
    };
    let reloads = trust.reloads(Reload::SealingKeys);
    // The name of a key tells nothing: the last one is another key under the name of the one before.
    let renamed = sealing::file(&["other"]).replace("other", "third");
    for (text, expected) in [
        (sealing::file(&["old", "new"]), (0, 0)),
        (sealing::file(&["new", "old"]), (1, 0)),
        (sealing::file(&["new"]), (1, 0)),
        (sealing::file(&["third", "new"]), (1, 1)),
        (renamed, (1, 2)),
    ] {
        let before = reloads.done.get();
        file.replace(&text);
        until("it is read", async || reloads.done.get() > before).await;
        assert_eq!(changes(), expected);
    }
}

#[tokio::test]
async fn a_change_after_an_error_that_passes_is_taken() {
    let (log, _logging) = CapturedLog::of_this_thread();
    let file = KeyFile::new();
    let keys = sealing::followed(Keys::from_file(&file.path).unwrap());
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
    let back = "the key file is in order again";
    until("it was looked at", async || log.text().contains(back)).await;
    fs::rename(&folder, &aside).unwrap();
    failed(2).await;
    fs::create_dir(&folder).unwrap();
    file.replace(&sealing::file(&["new", "old"]));
    until("the new file is read", async || first(&keys) == "new").await;
    assert_eq!((reloads.done.get(), reloads.failed.get()), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_counts_the_keys_that_it_reads_again() {
    let redis = RedisServer::start();
    let tenant = RedisTenant::on(&redis);
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
    let reloads = |outcome: &str| {
        let name = "token_broker_reloads_total{what=\"sealing_keys\",outcome=";
        broker.metric(&format!("{name}\"{outcome}\"}}")).unwrap()
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
        until("it is counted", async || reloads(outcome) == 1).await;
    }
    assert_eq!((reloads("done"), reloads("failed")), (1, 1));
    assert_eq!(broker.metric("token_broker_sealing_keys "), Some(2));
}

/// The keys of a file, followed by somebody who may be asked to look at once, as by SIGHUP.
struct Asked {
    keys: Keys,
    trust: Arc<Trust>,
    ask: tokio::sync::mpsc::UnboundedSender<()>,
}

impl Asked {
    fn follow(file: &KeyFile) -> Self {
        let keys = Keys::from_file(&file.path).unwrap();
        let trust = Arc::new(Trust::default());
        keys.tell(&trust);
        let (ask, asked) = tokio::sync::mpsc::unbounded_channel();
        let asked = tokio_stream::wrappers::UnboundedReceiverStream::new(asked);
        let followed = keys.clone();
        tokio::spawn(async move { followed.follow(asked).await });
        Self { keys, trust, ask }
    }

    fn count(&self) -> usize {
        self.keys.ring().ids().count()
    }

    fn reloads(&self) -> (u64, u64) {
        let reloads = self.trust.reloads(Reload::SealingKeys);
        (reloads.done.get(), reloads.failed.get())
    }
}

/// Whoever takes the half of it drops a key, and can't open what that key has sealed.
#[tokio::test]
async fn a_file_that_is_being_written_is_not_taken_by_half() {
    let file = KeyFile::new();
    let followed = Asked::follow(&file);
    for (keys, before) in [
        (["new", "old"], 1),
        (["old", "new"], 2),
        (["new", "old"], 2),
    ] {
        let whole = sealing::file(&keys);
        let first = sealing::file(&keys[..1]);
        let done = followed.reloads().0;
        // It only grows from here on. Whoever looks twice may find an empty file both times if it is emptied more than once.
        let mut writing = fs::File::create(&file.path).unwrap();
        let mut written = 0;
        for half in [0, first.len() / 2, first.len()] {
            writing.write_all(&whole.as_bytes()[written..half]).unwrap();
            written = half;
            followed.ask.send(()).unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(followed.count(), before, "{half}");
        }
        writing.write_all(&whole.as_bytes()[written..]).unwrap();
        until("the whole is taken", async || followed.reloads().0 > done).await;
        assert_eq!(followed.count(), 2);
    }
    assert_eq!(followed.reloads(), (3, 0));
}

/// Whoever asks is told, also of what was told before.
#[tokio::test]
async fn who_asks_is_told_what_is_wrong_or_that_nothing_is_new() {
    let (log, _logging) = CapturedLog::of_this_thread();
    let file = KeyFile::new();
    let followed = Asked::follow(&file);
    let told = |text: &str| log.text().matches(text).count();
    let nothing_new = "SIGHUP: the sealing keys haven't changed";
    followed.ask.send(()).unwrap();
    until("it is told", async || told(nothing_new) == 1).await;
    // The same in another file is nothing new either.
    file.replace(&sealing::file(&["old"]));
    followed.ask.send(()).unwrap();
    until("it is told", async || told(nothing_new) == 2).await;
    file.replace("broken");
    let wrong = "seal-keys: line 1 must be";
    for times in 1..4 {
        until("it is told", async || told(wrong) == times).await;
        assert_eq!(followed.reloads(), (0, times as u64));
        followed.ask.send(()).unwrap();
    }
    until("it is told", async || told(wrong) == 4).await;
    // What was in force all the time comes back.
    file.replace(&sealing::file(&["old"]));
    let back = "the key file is in order again";
    until("it is told", async || told(back) == 1).await;
    assert_eq!(followed.reloads(), (0, 4));
}
