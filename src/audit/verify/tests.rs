//! Damage is found where it is.

use std::{fs, io, sync::Arc, time::Duration};

use tempfile::TempDir;
use testkit::waiting::found;

use super::*;
use crate::audit::{
    Audit, AuditError, AuditOptions, Destination, Duty, Event, Kind, Names, Rotation,
    file::numbered,
};

fn options(path: &Path, size: u64) -> AuditOptions {
    AuditOptions {
        duty: Duty::Required,
        destinations: vec![Destination::File {
            path: path.to_owned(),
            rotation: Some(Rotation { size, keep: 100 }),
        }],
        names: Arc::new(Names::new(&[1; 32])),
        sync: false,
        patience: Duration::from_secs(20),
        places: 100,
    }
}

/// Starts a trail. The one before it has left its file, but a process that another test starts has that file, too, until it
/// executes its program.
async fn start(path: &Path, size: u64) -> Audit {
    let start = || match Audit::start(options(path, size)) {
        Err(AuditError::Open(_, error)) if error.kind() == io::ErrorKind::ResourceBusy => None,
        started => Some(started.unwrap()),
    };
    found("the file is free", start).await
}

/// Writes so many events in a run of their own.
async fn run(path: &Path, size: u64, events: usize) {
    let audit = start(path, size).await;
    for _ in 0..events {
        let reservation = audit.reserve().unwrap().unwrap();
        reservation
            .take(Event::new(Kind::Call, None, "OK"))
            .await
            .unwrap();
    }
    audit.close(Duration::from_secs(20)).await;
}

/// Returns the files, the oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let full = (1..).map(|number| numbered(path, number));
    let mut files: Vec<_> = full.take_while(|path| path.exists()).collect();
    files.reverse();
    files.push(path.to_owned());
    files
}

async fn three_runs() -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for _ in 0..3 {
        run(&path, 2_000, 20).await;
    }
    let files = files(&path);
    assert!(files.len() > 5, "{files:?}");
    (folder, files)
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).unwrap();
}

fn first_break(files: &[PathBuf]) -> (PathBuf, u64, Damage) {
    let report = verify(files, &[]).unwrap();
    let found = report
        .breaks
        .first()
        .unwrap_or_else(|| panic!("nothing was found: {report:?}"));
    (found.file.clone(), found.line, found.damage)
}

#[tokio::test]
async fn a_chain_goes_on_over_files_and_runs() {
    let (_folder, mut files) = three_runs().await;
    let report = verify(&files, &[]).unwrap();
    assert!(
        report.is_whole() && report.is_ended && !report.is_cut,
        "{report:?}"
    );
    assert_eq!(report.first, 1);
    assert_eq!(report.lines, report.last);
    for (at, file) in files.iter().enumerate().skip(1) {
        let text = fs::read_to_string(file).unwrap();
        assert!(
            text.lines().next().unwrap().contains("\"event\":\"file\""),
            "{at}: {text}"
        );
    }
    // The order in which the files are named doesn't matter, and old ones may be gone.
    files.reverse();
    assert_eq!(verify(&files, &[]).unwrap(), report);
    files.pop();
    let without_oldest = verify(&files, &[]).unwrap();
    assert!(without_oldest.is_whole() && without_oldest.first > 1);
}

#[tokio::test]
async fn every_line_that_is_removed_changed_or_moved_is_found() {
    let (_folder, files) = three_runs().await;
    let file = &files[2];
    let whole = fs::read_to_string(file).unwrap();
    let lines = whole.lines().count();
    assert!(lines > 4);
    for at in 0..lines {
        let number = u64::try_from(at).unwrap() + 1;
        edit(file, |lines| drop(lines.remove(at)));
        let (found, line, damage) = first_break(&files);
        assert!(
            matches!(damage, Damage::Missing(from, to) if from == to),
            "{damage:?}"
        );
        // The last one of a file is missed in the next.
        let expected = if at + 1 < lines {
            (file, number)
        } else {
            (&files[3], 1)
        };
        assert_eq!((&found, line), expected);
        fs::write(file, &whole).unwrap();

        edit(file, |lines| {
            lines[at] = lines[at].replacen("\"time\":\"2", "\"time\":\"1", 1)
        });
        assert_eq!(first_break(&files), (file.clone(), number, Damage::Changed));
        fs::write(file, &whole).unwrap();

        edit(file, |lines| lines[at].truncate(40));
        assert_eq!(
            first_break(&files),
            (file.clone(), number, Damage::Unreadable)
        );
        fs::write(file, &whole).unwrap();

        if at + 1 < lines {
            edit(file, |lines| lines.swap(at, at + 1));
            let (found, line, _) = first_break(&files);
            assert_eq!((&found, line), (file, number));
            fs::write(file, &whole).unwrap();
        }
    }
    assert!(verify(&files, &[]).unwrap().is_whole());
}

#[tokio::test]
async fn a_file_that_is_missing_between_others_is_found() {
    let (_folder, mut files) = three_runs().await;
    files.remove(2);
    let (found, line, damage) = first_break(&files);
    assert_eq!((&found, line), (&files[2], 1));
    assert!(matches!(damage, Damage::Missing(..)));
}

#[tokio::test]
async fn a_new_chain_behind_another_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    run(&one, 1 << 20, 2).await;
    run(&two, 1 << 20, 2).await;
    let (_, line, damage) = first_break(&[one, two]);
    assert_eq!((line, damage), (1, Damage::Anew));
}

#[tokio::test]
async fn only_an_anchor_tells_that_the_end_was_cut_off() {
    let (_folder, files) = three_runs().await;
    let whole = verify(&files, &[]).unwrap();
    let anchor = Anchor::parse(&format!("{}:{}", whole.last, whole.hash)).unwrap();
    assert!(verify(&files, &[anchor]).unwrap().is_whole());
    edit(files.last().unwrap(), |lines| drop(lines.pop()));
    let cut = verify(&files, &[]).unwrap();
    assert!(cut.is_whole() && !cut.is_ended);
    let cut = verify(&files, &[anchor]).unwrap();
    assert_eq!(
        (cut.is_whole(), cut.anchors_missed),
        (false, vec![whole.last])
    );
}

#[tokio::test]
async fn a_line_that_its_writer_could_not_finish_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    run(&path, 1 << 20, 3).await;
    // The second run is killed in the middle of a line: at each byte of its last one.
    run(&path, 1 << 20, 1).await;
    let whole = fs::read(&path).unwrap();
    let last = memchr::memrchr(b'\n', &whole[..whole.len() - 1]).unwrap() + 1;
    for end in last..whole.len() - 1 {
        fs::write(&path, &whole[..end]).unwrap();
        let report = verify(std::slice::from_ref(&path), &[]).unwrap();
        assert!(report.is_whole() && !report.is_ended, "{report:?}");
        assert_eq!(report.is_cut, end > last);
        run(&path, 1 << 20, 1).await;
        let report = verify(std::slice::from_ref(&path), &[]).unwrap();
        assert!(report.is_whole() && report.is_ended, "{end}: {report:?}");
    }
    // Another torn line, which no line tells of.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{{\"seq\":0,\n{text}")).unwrap();
    let found = first_break(std::slice::from_ref(&path));
    assert_eq!(found, (path, 1, Damage::Unreadable));
}

#[tokio::test]
async fn the_oldest_files_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut options = options(&path, 1_000);
    options.destinations = vec![Destination::File {
        path: path.clone(),
        rotation: Some(Rotation {
            size: 1_000,
            keep: 2,
        }),
    }];
    let audit = Audit::start(options).unwrap();
    for _ in 0..50 {
        let reservation = audit.reserve().unwrap().unwrap();
        reservation
            .take(Event::new(Kind::Call, None, "OK"))
            .await
            .unwrap();
    }
    audit.close(Duration::from_secs(20)).await;
    let files = files(&path);
    assert_eq!(files.len(), 3);
    let report = verify(&files, &[]).unwrap();
    assert!(report.is_whole() && report.first > 1, "{report:?}");
}

#[tokio::test]
async fn a_file_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let one = Audit::start(options(&path, 1 << 20)).unwrap();
    let other = Audit::start(options(&path, 1 << 20)).unwrap_err();
    assert!(other.to_string().contains("another process"), "{other}");
    one.close(Duration::from_secs(20)).await;
    start(&path, 1 << 20).await;
}

/// Hands over so many events.
async fn events(audit: &Audit, count: usize) {
    for _ in 0..count {
        let reservation = audit.reserve().unwrap().unwrap();
        let event = Event::new(Kind::Call, None, "OK");
        reservation.take(event).await.unwrap();
    }
}

fn is_replaced(report: &Report) -> bool {
    let damages: Vec<_> = report.breaks.iter().map(|found| found.damage).collect();
    damages == [Damage::Replaced]
}

/// The chain of what is left is whole, and yet the broker had written more.
#[tokio::test]
async fn an_older_file_that_is_put_in_the_place_of_the_broker_s_own_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::start(options(&path, u64::MAX)).unwrap();
    events(&audit, 20).await;
    let all = fs::read_to_string(&path).unwrap();
    let cut: String = all.split_inclusive('\n').take(3).collect();
    let (aside, older) = (folder.path().join("aside"), folder.path().join("older"));
    fs::rename(&path, &aside).unwrap();
    fs::write(&older, cut).unwrap();
    fs::rename(&older, &path).unwrap();
    events(&audit, 5).await;
    assert_eq!(audit.figures().unwrap().totals().failures, 1);
    audit.close(Duration::from_secs(20)).await;
    let report = verify(&[path], &[]).unwrap();
    assert!(is_replaced(&report), "{report:?}");
}

/// The way back is found, too: what was written meanwhile is in none of the files.
#[tokio::test]
async fn a_file_that_was_away_for_a_while_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let [path, aside, other] =
        ["audit.jsonl", "aside", "other"].map(|name| folder.path().join(name));
    let audit = Audit::start(options(&path, u64::MAX)).unwrap();
    events(&audit, 3).await;
    fs::rename(&path, &aside).unwrap();
    events(&audit, 3).await;
    // The control: nothing is missing as long as both are there.
    let report = verify(&[path.clone(), aside.clone()], &[]).unwrap();
    assert!(report.is_whole(), "{report:?}");
    fs::rename(&path, &other).unwrap();
    fs::rename(&aside, &path).unwrap();
    events(&audit, 3).await;
    audit.close(Duration::from_secs(20)).await;
    let report = verify(&[path], &[]).unwrap();
    assert!(is_replaced(&report), "{report:?}");
}

#[tokio::test]
async fn what_is_no_file_has_no_events_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let [path, aside] = ["audit.jsonl", "aside"].map(|name| folder.path().join(name));
    let pipe = |path: &Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    // In the place of the last full file, which the start looks at.
    pipe(&numbered(&path, 1));
    let audit = Audit::start(options(&path, u64::MAX)).unwrap();
    events(&audit, 3).await;
    for place in ["pipe", "/dev/null"] {
        fs::rename(&path, &aside).unwrap();
        match place {
            "pipe" => pipe(&path),
            device => std::os::unix::fs::symlink(device, &path).unwrap(),
        }
        let reservation = audit.reserve().unwrap().unwrap();
        let event = Event::new(Kind::Call, None, "OK");
        assert!(reservation.take(event).await.is_err());
        fs::rename(&aside, &path).unwrap();
        while audit.reserve().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    events(&audit, 3).await;
    audit.close(Duration::from_secs(20)).await;
    let report = verify(&[path], &[]).unwrap();
    assert!(report.is_whole() && report.is_ended, "{report:?}");
}

#[tokio::test]
async fn rubbish_is_no_line_that_is_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    fs::write(&path, [0; 1_000]).unwrap();
    let report = verify(std::slice::from_ref(&path), &[]).unwrap();
    assert!(!report.is_whole() && !report.is_cut, "{report:?}");
    fs::remove_file(&path).unwrap();
    run(&path, u64::MAX, 2).await;
    let whole = fs::read(&path).unwrap();
    for (rest, is_whole) in [
        ("{", true),
        ("{\"seq\":7,\"ti", true),
        ("\0\0", false),
        ("{\"seq\":7,\"ti\0\0", false),
        ("{\"seq\":7,]", false),
    ] {
        fs::write(&path, [&whole[..], rest.as_bytes()].concat()).unwrap();
        let report = verify(std::slice::from_ref(&path), &[]).unwrap();
        assert_eq!(
            (report.is_whole(), report.is_cut),
            (is_whole, is_whole),
            "{rest}"
        );
    }
}
