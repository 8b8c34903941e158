//! Files that are full, renamed and gone, under load.

use std::{fs, process::Command};

use testkit::{
    broker_process::{BrokerProcess, program},
    waiting::until,
};

use crate::world::{Crowd, World, store};

const DELETED: &str = "was deleted while it was written";

/// Sets how large the process's files may get. Only what it may raise again by itself.
fn limit(broker: &BrokerProcess, bytes: &str) {
    let limit = format!("--fsize={bytes}:");
    let pid = broker.pid().to_string();
    let set = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(set.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_own_rotation_loses_nothing() {
    let world = World::new();
    let broker = world
        .start(&["--audit-file-size", "40000", "--audit-file-keep", "10000"])
        .await;
    let crowd = Crowd::start(&broker).await;
    crowd.reaches(2_000).await;
    let answered = crowd.stop().await;
    assert!(broker.terminate().success());
    assert!(world.files().len() > 5, "{:?}", world.files());
    world.assert_complete(&answered);
    let report = world.report();
    assert!(report.is_whole() && report.is_ended, "{report:?}");
    // A file has one line of its own for each event.
    let stored = world.stored();
    let distinct: std::collections::BTreeSet<_> = stored.iter().collect();
    assert_eq!(stored.len(), distinct.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_by_others_loses_nothing() {
    let world = World::new();
    let broker = world.start(&["--audit-file-size", "0"]).await;
    let crowd = Crowd::start(&broker).await;
    for number in 0..20 {
        crowd.reaches(100 * (number + 1)).await;
        let moved = world.folder().join(format!("audit.jsonl-{number}"));
        fs::rename(world.path(), moved).unwrap();
        if number % 2 == 0 {
            let pid = broker.pid();
            let sent = Command::new("sh")
                .args(["-c", &format!("kill -HUP {pid}")])
                .status();
            assert!(sent.unwrap().success());
        }
        until("there is another file", || async { world.path().exists() }).await;
    }
    let answered = crowd.stop().await;
    let ended = broker.ended().await;
    assert!(ended.success() && !ended.log.contains(DELETED), "{ended:?}");
    assert_eq!(world.files().len(), 21);
    world.assert_complete(&answered);
    let report = world.report();
    assert!(report.is_whole() && report.is_ended, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_deleted_is_told_of() {
    let world = World::new();
    let broker = world.start(&[]).await;
    let mut client = broker.client().await;
    store(&mut client, "s").await.unwrap();
    fs::remove_file(world.path()).unwrap();
    store(&mut client, "s").await.unwrap();
    broker.tells(DELETED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_closes_the_broker_and_room_opens_it() {
    let world = World::new();
    let broker = world.start(&[]).await;
    let crowd = Crowd::start(&broker).await;
    crowd.reaches(200).await;
    let size = fs::metadata(world.path()).unwrap().len();
    // It ends in the middle of a line, or of a batch.
    limit(&broker, &(size + 10_007).to_string());
    let mut client = broker.client().await;
    until("calls are refused", || {
        let mut client = client.clone();
        async move { store(&mut client, "probe").await.is_err() }
    })
    .await;
    let count = crowd.count();
    limit(&broker, "unlimited");
    crowd.reaches(count + 200).await;
    store(&mut client, "afterwards").await.unwrap();
    let answered = crowd.stop().await;
    broker.tells("events can't be written").await;
    assert!(broker.terminate().success());
    world.assert_complete(&answered);
    let report = world.report();
    assert!(report.is_whole() && report.is_ended, "{report:?}");
    assert!(report.told_missing.refused > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_closes_the_broker() {
    let world = World::new();
    let broker = world.start(&[]).await;
    let mut client = broker.client().await;
    store(&mut client, "s").await.unwrap();
    // In one step: the broker would make a file anew that is gone from its folder.
    let gone = world.folder().with_extension("gone");
    fs::rename(world.folder(), &gone).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    store(&mut client, "s").await.unwrap_err();
    fs::create_dir(world.folder()).unwrap();
    until("calls are served", || {
        let mut client = client.clone();
        async move { store(&mut client, "s").await.is_ok() }
    })
    .await;
    assert!(world.report().is_whole());
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let world = World::new();
    let checked = || {
        let mut program = program();
        program.args(world.settings(&["--backend", "memory", "--check-config"]));
        program.output().unwrap()
    };
    assert!(checked().status.success());
    for mode in [0o644, 0o660] {
        world.give_key_the_rights(mode);
        let checked = checked();
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(2), "{told}");
        let rights = format!("audit-key-file: its rights are {mode:04o}");
        assert!(told.contains(&rights), "{told}");
    }
}
