//! The trail with sinks that fail.

use std::{io, sync::mpsc};

use futures_util::FutureExt;
use serde_json::Value;
use testkit::waiting::until;

use super::*;
use crate::audit::{Kind, Written, sink::Partial};

/// Why writes fail.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Only so many bytes more fit.
    Room(usize),
    /// The disk doesn't confirm.
    Sync,
    /// The writer has a fault.
    Panic,
}

#[derive(Default)]
struct Disk {
    bytes: Vec<u8>,
    fault: Option<Fault>,
    /// How often somebody began to write to it.
    writes: usize,
}

/// A sink in memory, whose faults a test chooses.
#[derive(Clone, Default)]
struct Faulty {
    disk: Arc<Mutex<Disk>>,
    /// A write waits for a message, if there is a receiver.
    gate: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
}

impl Faulty {
    fn set(&self, fault: Option<Fault>) {
        self.disk.lock().unwrap().fault = fault;
    }

    fn text(&self) -> String {
        String::from_utf8(self.disk.lock().unwrap().bytes.clone()).unwrap()
    }

    /// The whole lines, as far as they are JSON.
    fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.collect()
    }

    /// The chain is checked as an operator would.
    fn report(&self) -> crate::audit::verify::Report {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.text()).unwrap();
        crate::audit::verify::verify(&[file.path().to_owned()], &[]).unwrap()
    }
}

impl Sink for Faulty {
    fn name(&self) -> String {
        "a test".to_owned()
    }

    fn ready(&mut self) -> io::Result<Option<Tail>> {
        Ok(None)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Partial> {
        self.disk.lock().unwrap().writes += 1;
        if let Some(gate) = &*self.gate.lock().unwrap() {
            gate.recv().ok();
        }
        let mut disk = self.disk.lock().unwrap();
        if disk.fault == Some(Fault::Panic) {
            drop(disk);
            panic!("a fault of the writer");
        }
        let Some(Fault::Room(room)) = disk.fault else {
            disk.bytes.extend_from_slice(bytes);
            return Ok(());
        };
        let written = room.min(bytes.len());
        disk.bytes.extend_from_slice(&bytes[..written]);
        disk.fault = Some(Fault::Room(room - written));
        match written == bytes.len() {
            true => Ok(()),
            false => Err(Partial {
                written,
                error: io::ErrorKind::StorageFull.into(),
            }),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.disk.lock().unwrap().fault {
            Some(Fault::Sync) => Err(io::ErrorKind::Other.into()),
            _ => Ok(()),
        }
    }
}

fn options(duty: Duty) -> AuditOptions {
    AuditOptions {
        duty,
        destinations: Vec::new(),
        names: Arc::new(Names::new(&[1; 32])),
        sync: true,
        patience: Duration::from_secs(20),
        places: 8,
    }
}

fn trail(options: AuditOptions, sinks: &[&Faulty]) -> Audit {
    let mut beginning = Beginning::new(options);
    for sink in sinks {
        beginning.add(Faulty::clone(sink), Tail::default()).unwrap();
    }
    beginning.begun()
}

fn event(rpc: &'static str) -> Event {
    let mut event = Event::new(Kind::Call, None, "OK");
    event.rpc = Some(rpc);
    event
}

fn write(audit: &Audit, rpc: &'static str) -> Written {
    audit.reserve().unwrap().unwrap().take(event(rpc))
}

/// Waits until a place is given again.
async fn recovered(audit: &Audit) {
    let begun = Instant::now();
    while audit.reserve().is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it doesn't recover"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn rpcs(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| line["rpc"].as_str())
        .collect()
}

#[tokio::test]
async fn what_was_handed_over_is_written_before_the_answer_and_before_the_end() {
    let (one, other) = (Faulty::default(), Faulty::default());
    let audit = trail(options(Duty::Required), &[&one, &other]);
    write(&audit, "A").await.unwrap();
    for sink in [&one, &other] {
        assert_eq!(rpcs(&sink.lines()), ["A"]);
    }
    let _unread: Vec<_> = (0..6).map(|_| write(&audit, "B")).collect();
    audit.close(Duration::from_secs(20)).await;
    for sink in [&one, &other] {
        let lines = sink.lines();
        assert_eq!(rpcs(&lines).len(), 7);
        assert_eq!(
            (&lines[0]["event"], &lines[8]["event"]),
            (&"start".into(), &"stop".into())
        );
        let report = sink.report();
        assert!(report.is_whole() && report.is_ended, "{report:?}");
    }
    assert!(audit.reserve().is_err());
}

/// Where events are required, who has taken its part of the places is refused, and nobody else is.
#[tokio::test]
async fn a_caller_that_has_its_part_of_the_places_finds_none() {
    let audit = trail(options(Duty::Required), &[&Faulty::default()]);
    let [greedy, other] = [(); 2].map(|()| TrailShare::of_caller(None));
    let place = |share| audit.reserve_for(Some(share)).map(Option::unwrap);
    let held: Vec<_> = std::iter::from_fn(|| place(&greedy).ok()).collect();
    assert_eq!(held.len(), 6);
    let others = place(&other).unwrap();
    drop(held);
    // Their places are free again, and count as nobody's.
    place(&greedy).unwrap();
    place(&other).unwrap().leave(event("A"));
    drop(others);
    audit.close(Duration::from_secs(20)).await;
    assert_eq!(audit.figures().unwrap().totals().waiting, 0);
}

#[tokio::test]
async fn wherever_the_disk_is_full_nothing_is_answered_and_nothing_is_torn_unseen() {
    let text = {
        let disk = Faulty::default();
        let audit = trail(options(Duty::Required), &[&disk]);
        write(&audit, "A").await.unwrap();
        disk.text()
    };
    // All places, some of them each time: each costs a pause.
    let (first, all) = (text.find('\n').unwrap(), text.len());
    let around = [
        0,
        1,
        first - 1,
        first,
        first + 1,
        first + 2,
        all - 2,
        all - 1,
    ];
    let others = (rand::random_range(2..40)..all).step_by(40);
    for room in around.into_iter().chain(others) {
        let disk = Faulty::default();
        disk.set(Some(Fault::Room(room)));
        let audit = trail(options(Duty::Required), &[&disk]);
        let place = audit.reserve();
        let answered = match place {
            Ok(place) => place.unwrap().take(event("A")).await.is_ok(),
            // The start itself failed.
            Err(_) => false,
        };
        assert!(!answered, "{room}");
        assert_eq!(rpcs(&disk.lines()).len(), 0, "{room}");
        // Nothing is begun while it is known that events can't be written.
        assert!(
            matches!(audit.reserve(), Err(Error::AuditUnavailable)),
            "{room}"
        );
        disk.set(None);
        recovered(&audit).await;
        write(&audit, "B").await.unwrap();
        audit.close(Duration::from_secs(20)).await;
        let (lines, report) = (disk.lines(), disk.report());
        assert!(
            report.is_whole() && report.is_ended,
            "{room}: {report:?}\n{}",
            disk.text()
        );
        assert_eq!(rpcs(&lines).last(), Some(&"B"), "{room}");
        assert!(
            report.told_missing.refused >= 1,
            "{room}: the refused call is told"
        );
        let a = lines.iter().rfind(|line| line["rpc"] == "A");
        if let Some(a) = a {
            assert_eq!(a["answer"], "withheld", "{room}");
        }
    }
}

#[tokio::test]
async fn a_disk_that_does_not_confirm_has_no_event() {
    let disk = Faulty::default();
    let audit = trail(options(Duty::Required), &[&disk]);
    write(&audit, "A").await.unwrap();
    disk.set(Some(Fault::Sync));
    assert!(write(&audit, "B").await.is_err());
    assert!(audit.reserve().is_err());
    disk.set(None);
    recovered(&audit).await;
    write(&audit, "C").await.unwrap();
    audit.close(Duration::from_secs(20)).await;
    assert!(disk.report().is_whole(), "{}", disk.text());
    assert_eq!(rpcs(&disk.lines()), ["A", "B", "C"]);
}

#[tokio::test]
async fn a_writer_that_panics_is_told_of() {
    let disk = Faulty::default();
    let audit = trail(options(Duty::Required), &[&disk]);
    write(&audit, "A").await.unwrap();
    disk.set(Some(Fault::Panic));
    assert!(write(&audit, "B").await.is_err());
    assert!(audit.reserve().is_err());
    let begun = Instant::now();
    while audit.figures().unwrap().totals().failing == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    assert_eq!(audit.figures().unwrap().totals().failures, 1);
}

#[tokio::test]
async fn one_of_two_destinations_is_not_enough() {
    let (good, bad) = (Faulty::default(), Faulty::default());
    let audit = trail(options(Duty::Required), &[&good, &bad]);
    write(&audit, "A").await.unwrap();
    bad.set(Some(Fault::Room(0)));
    assert!(write(&audit, "B").await.is_err());
    assert!(audit.reserve().is_err());
    assert_eq!(audit.figures().unwrap().totals().failing, 1);
    bad.set(None);
    recovered(&audit).await;
    audit.close(Duration::from_secs(20)).await;
    // Both have the event. Who wrote it first can't have known that the answer would be withheld.
    let of_b = |disk: &Faulty| {
        let mut lines = disk.lines().into_iter();
        lines.find(|line| line["rpc"] == "B").unwrap()
    };
    let (good, bad) = (of_b(&good), of_b(&bad));
    assert_eq!(bad["answer"], "withheld");
    for same in ["time", "caller", "code"] {
        assert_eq!(good[same], bad[same], "{same}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_withholds_answers_and_then_refuses_calls() {
    let disk = Faulty::default();
    let (open, gate) = mpsc::channel();
    *disk.gate.lock().unwrap() = Some(gate);
    let patience = Duration::from_millis(50);
    let audit = trail(
        AuditOptions {
            patience,
            ..options(Duty::Required)
        },
        &[&disk],
    );
    // The writer is stuck with its first line, and doesn't know of the event yet.
    while disk.disk.lock().unwrap().writes == 0 {
        thread::yield_now();
    }
    // The time of tasks is paused, and jumps ahead when they have nothing to do. The writer's is the real one.
    let withheld = write(&audit, "A").await;
    assert!(matches!(withheld, Err(Error::AuditUnavailable)));
    let begun = Instant::now();
    while audit.reserve().is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
    // The writer hangs and can't tell, so whoever is refused does, once.
    assert!(audit.reserve().is_err());
    let figures = audit.figures().unwrap().totals();
    let told = (figures.withheld, figures.failing, figures.failures);
    assert_eq!(told, (1, 1, 1));
    drop(open);
    let begun = Instant::now();
    while audit.reserve().is_err() || audit.figures().unwrap().totals().failing > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
    let mut written = write(&audit, "B");
    let begun = Instant::now();
    while (&mut written).now_or_never().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        // The agent hands it over.
        tokio::task::yield_now().await;
    }
    let lines = disk.lines();
    assert_eq!(rpcs(&lines), ["A", "B"]);
    let a = lines.iter().find(|line| line["rpc"] == "A").unwrap();
    assert_eq!(a["answer"], "withheld");
}

#[tokio::test]
async fn places_are_bounded_and_come_back() {
    for duty in [Duty::Required, Duty::BestEffort] {
        let disk = Faulty::default();
        let (open, gate) = mpsc::channel();
        *disk.gate.lock().unwrap() = Some(gate);
        let audit = trail(options(duty), &[&disk]);
        let mut written: Vec<_> = (0..8).map(|_| Box::pin(write(&audit, "A"))).collect();
        match duty {
            Duty::Required => {
                assert!((&mut written[0]).now_or_never().is_none());
                assert!(matches!(audit.reserve(), Err(Error::AuditUnavailable)));
            }
            Duty::BestEffort => {
                assert!(matches!((&mut written[0]).now_or_never(), Some(Ok(()))));
                // It goes on, and the event is lost.
                write(&audit, "lost").await.unwrap();
            }
        }
        drop(open);
        for written in written {
            written.await.unwrap();
        }
        let begun = Instant::now();
        while audit.figures().unwrap().totals().waiting > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            // The agent frees them.
            tokio::task::yield_now().await;
        }
        write(&audit, "B").await.unwrap();
        audit.close(Duration::from_secs(20)).await;
        let report = disk.report();
        assert!(report.is_whole(), "{report:?}");
        let missing = match duty {
            Duty::Required => (0, 1),
            Duty::BestEffort => (1, 0),
        };
        let told = report.told_missing;
        assert_eq!((told.lost, told.refused), missing);
        assert_eq!(rpcs(&disk.lines()).len(), 9);
    }
}

#[tokio::test]
async fn an_end_without_a_disk_comes_in_time_and_tells_the_loss() {
    let disk = Faulty::default();
    let audit = trail(options(Duty::BestEffort), &[&disk]);
    disk.set(Some(Fault::Room(0)));
    write(&audit, "A").await.unwrap();
    audit.close(Duration::from_millis(50)).await;
    // A writer that stood still isn't waited for by `close`.
    let is_told = async || audit.figures().unwrap().totals().lost > 0;
    until("the loss is told", is_told).await;
    assert_eq!(audit.figures().unwrap().totals().lost, 1);
}

/// A crowd of tasks: each event that was confirmed is there, in the order of the chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_shares_writes() {
    let disk = Faulty::default();
    let audit = trail(
        AuditOptions {
            places: 1000,
            ..options(Duty::Required)
        },
        &[&disk],
    );
    let crowd = (0..64).map(|_| {
        let audit = audit.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                write(&audit, "A").await.unwrap();
            }
        })
    });
    for caller in crowd.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(rpcs(&disk.lines()).len(), 6400);
    assert!(disk.report().is_whole());
    assert!(
        disk.disk.lock().unwrap().writes < 6400,
        "no two events shared a write"
    );
}

/// Callers of one thread: the writer, which is busy, gets nothing before each of them had its turn, and then everything.
#[tokio::test]
async fn events_of_one_turn_are_handed_over_together() {
    let disk = Faulty::default();
    let (open, gate) = mpsc::channel();
    *disk.gate.lock().unwrap() = Some(gate);
    let audit = trail(options(Duty::Required), &[&disk]);
    while disk.disk.lock().unwrap().writes == 0 {
        thread::yield_now();
    }
    let handed_over = || audit.0.as_ref().unwrap().queues[0].waiting();
    for turn in 0..2 {
        let crowd = (0..4).map(|_| {
            let written = write(&audit, "A");
            assert_eq!(handed_over(), 4 * turn);
            tokio::spawn(written)
        });
        let crowd: Vec<_> = crowd.collect();
        tokio::task::yield_now().await;
        assert_eq!(handed_over(), 4 * (turn + 1));
        assert!(crowd.iter().all(|caller| !caller.is_finished()));
    }
    drop(open);
    while audit.figures().unwrap().totals().waiting > 0 {
        tokio::task::yield_now().await;
    }
    // That of the start, and one for both turns.
    assert_eq!(disk.disk.lock().unwrap().writes, 2);
}

/// The runtime of a worker may end before the trail does.
#[test]
fn what_a_runtime_leaves_behind_is_written() {
    let disk = Faulty::default();
    let audit = trail(options(Duty::Required), &[&disk]);
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let first = runtime();
    // Nothing runs after it, and so the agent never does.
    let inside = first.enter();
    let unread = write(&audit, "A");
    drop(inside);
    drop(first);
    // The thread has a desk, and it is that of another runtime.
    let second = runtime();
    second.block_on(async { write(&audit, "B").await }).unwrap();
    second.block_on(audit.close(Duration::from_secs(20)));
    assert_eq!(rpcs(&disk.lines()), ["A", "B"]);
    drop(unread);
    assert_eq!(audit.figures().unwrap().totals().waiting, 0);
}

/// Nothing is withheld from a client that has left.
#[tokio::test]
async fn a_client_that_leaves_is_not_counted_as_a_failure() {
    let disk = Faulty::default();
    let (open, gate) = mpsc::channel();
    *disk.gate.lock().unwrap() = Some(gate);
    let audit = trail(options(Duty::Required), &[&disk]);
    drop(write(&audit, "A"));
    drop(open);
    audit.close(Duration::from_secs(20)).await;
    assert_eq!(audit.figures().unwrap().totals().withheld, 0);
    assert_eq!(rpcs(&disk.lines()), ["A"]);
    assert_eq!(disk.lines()[1]["answer"], "withheld");
}
