//! How a broker ends: killed, or in order.

use std::process::Command;

use testkit::broker_process::program;

use crate::world::{Crowd, World};

/// A broker that is killed in the middle of its work, several times. What it answered is in the file.
#[tokio::test(flavor = "multi_thread")]
async fn sigkill_loses_no_event_of_an_answer() {
    let world = World::new();
    let mut answered = std::collections::BTreeSet::new();
    for round in 0..5 {
        let broker = world.start(&[]).await;
        let crowd = Crowd::start(&broker).await;
        crowd.reaches(300 + 100 * round).await;
        // It is killed when it is dropped.
        drop(broker);
        answered.extend(crowd.stop().await);
        world.assert_complete(&answered);
    }
    // Whoever starts next finds the torn line, and goes on.
    let broker = world.start(&[]).await;
    assert!(broker.terminate().success());
    let report = world.report();
    assert!(report.is_whole() && report.is_ended, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_order_writes_all_events() {
    let world = World::new();
    let broker = world.start(&["--audit-sync", "fsync"]).await;
    let crowd = Crowd::start(&broker).await;
    crowd.reaches(200).await;
    assert!(broker.terminate().success());
    let answered = crowd.stop().await;
    world.assert_complete(&answered);
    let report = world.report();
    assert!(report.is_whole() && report.is_ended, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_broker_does_not_write_into_the_file_of_the_first() {
    let world = World::new();
    let _broker = world.start(&[]).await;
    let settings = world.settings(&["--listen", "127.0.0.1:0"]);
    let second = program().args(settings).output().unwrap();
    let told = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{told}");
    assert!(
        told.contains("audit-file: ") && told.contains("another process"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_what_is_damaged() {
    let world = World::new();
    let broker = world.start(&[]).await;
    let crowd = Crowd::start(&broker).await;
    crowd.reaches(100).await;
    crowd.stop().await;
    assert!(broker.terminate().success());
    let text = |output: &std::process::Output| String::from_utf8(output.stdout.clone()).unwrap();
    let whole = world.verify_command(&[]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole));
    let printed = text(&whole);
    let anchor = printed
        .lines()
        .find_map(|line| line.strip_prefix("last line: "))
        .unwrap();
    assert_eq!(
        world.verify_command(&["--anchor", anchor]).status.code(),
        Some(0)
    );

    let path = world.path();
    let lines = std::fs::read_to_string(&path).unwrap();
    let without = |gone: usize| -> String {
        let kept = lines.lines().enumerate().filter(|(at, _)| *at != gone);
        kept.map(|(_, line)| format!("{line}\n")).collect()
    };
    std::fs::write(&path, without(50)).unwrap();
    let damaged = world.verify_command(&[]);
    let told = text(&damaged);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(
        told.contains("line 51: lines 51 to 51 are missing before it"),
        "{told}"
    );

    // The end is missed by who knows it.
    std::fs::write(&path, without(lines.lines().count() - 1)).unwrap();
    assert_eq!(world.verify_command(&[]).status.code(), Some(0));
    assert_eq!(
        world.verify_command(&["--anchor", anchor]).status.code(),
        Some(1)
    );

    // What has no lines isn't called whole.
    std::fs::write(&path, "").unwrap();
    let empty = world.verify_command(&[]);
    assert_eq!(empty.status.code(), Some(0));
    let told = text(&empty);
    assert!(
        told.starts_with("there are no lines") && told.contains("anchor"),
        "{told}"
    );

    let missing = Command::new(program().get_program())
        .args(["audit", "verify", "/none"])
        .output();
    assert_eq!(missing.unwrap().status.code(), Some(2));
}
