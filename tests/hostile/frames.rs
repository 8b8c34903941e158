//! Frames that belong to no call, as many as a connection takes. No bound on calls is about them.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use testkit::broker_process::BrokerProcess;
use tokio::{task::JoinSet, time::sleep};

use crate::raw::{
    END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, frame,
    headers,
};

const PRIORITY: u8 = 2;
const UNKNOWN: u8 = 0x42;
/// The flag of a PING and of SETTINGS that are an answer.
const ACK: u8 = 1;

/// How long each kind comes, and over how many connections.
const SPAN: Duration = Duration::from_millis(700);
const CONNECTIONS: usize = 4;
/// How much processor time the broker may take in such a span. It would take all that there is.
const WORKED: Duration = Duration::from_millis(250);

/// Kinds of frames, of which some are about a stream that has ended.
fn kinds() -> [(&'static str, Vec<u8>); 8] {
    [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("answers to no PING", frame(PING, ACK, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 16])),
        ("an unknown kind", frame(UNKNOWN, 0, 0, &[])),
        ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 4])),
        (
            "WINDOW_UPDATE of a stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        (
            "WINDOW_UPDATE of all",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
    ]
}

/// Connects again and again, has a stream end, and sends such frames until the broker closes the connection.
async fn flood(address: SocketAddr, burst: Vec<u8>) {
    loop {
        let Ok(raw) = Raw::connect(address, &[]).await else {
            continue;
        };
        let mut raw = raw.reading();
        let call = frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers("/x.Y/Z"));
        raw.bytes(&call).await.ok();
        while raw.bytes(&burst).await.is_ok() {}
        sleep(Duration::from_millis(20)).await;
    }
}

/// Returns how much processor time the threads of a process have had.
fn worked(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanos = threads.map(|thread| {
        let file = thread.unwrap().path().join("schedstat");
        // A thread may end meanwhile.
        let text = fs::read_to_string(file).unwrap_or_default();
        let first = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        first.unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}

/// They cost the broker next to nothing, and leave no lines in its log, which would hide its own.
#[tokio::test(flavor = "multi_thread")]
async fn frames_that_belong_to_no_call_keep_no_thread_busy() {
    for listener in ["listen", "health-listen"] {
        let broker = BrokerProcess::start(&["--backend=memory", "--health-listen=127.0.0.1:0"]);
        broker.serving().await;
        let address = match listener {
            "listen" => broker.address(),
            _ => broker.logged_address("health_address"),
        };
        for (kind, one) in kinds() {
            let (before, begun) = (worked(broker.pid()), Instant::now());
            let mut strangers = JoinSet::new();
            for _ in 0..CONNECTIONS {
                strangers.spawn(flood(address, one.repeat(1_000)));
            }
            sleep(SPAN).await;
            drop(strangers);
            let worked = worked(broker.pid()) - before;
            // The machine may hold up this test while the strangers go on.
            let spans = begun.elapsed().as_secs_f64() / SPAN.as_secs_f64();
            let most = WORKED.mul_f64(spans.max(1.0));
            println!("{listener}, {kind}: {worked:?} of {most:?}");
            assert!(worked < most, "{listener}, {kind}: {worked:?}");
        }
        let lines = broker.ended().await.log.lines().count();
        assert!(lines < 20, "{listener}: {lines} lines");
    }
}
