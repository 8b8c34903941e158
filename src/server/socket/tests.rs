//! Tests of the socket of a connection.

use std::{future::poll_fn, time::Duration};

use testkit::http2::{self, BEGUN, DATA, HEADERS, PING};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{super::wire::Wire, outgoing::LEAST, silence::LOOKS, *};
use crate::{
    rpc::{Admission, CallLimits},
    types::Source,
};

const SOON: Duration = Duration::from_millis(50);

fn admission() -> Admission {
    let limits = CallLimits {
        calls: 10,
        bytes: 10,
        largest: 10,
        of_a_tenant: None,
    };
    Admission::new(limits)
}

async fn pair() -> (Socket, Outbox, TcpStream) {
    pair_of(&admission()).await
}

async fn pair_of(admission: &Admission) -> (Socket, Outbox, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (stream, peer) = accepted.unwrap();
    let stream = Transport::Plain(Wire::Tcp(stream, peer));
    let begin = Instant::now() + Duration::from_secs(10);
    let (socket, outbox) = wrap(stream, begin, admission.share(Source::default()));
    (socket, outbox, client.unwrap())
}

/// Returns a frame with eight bytes. If it has headers, these are all of a call.
fn frame(kind: u8, stream: u32) -> Vec<u8> {
    http2::frame(kind, http2::END_HEADERS, stream, &[0; 8])
}

/// Has so many calls refused.
fn refuse(share: &Share, many: usize) {
    (0..many).for_each(|_| share.note_refused(None));
}

/// Returns what HTTP/2 gets until it has to wait, while somebody else has so many calls refused.
async fn given(socket: &mut Socket, outbox: &Outbox, (other, many): (&Share, usize)) -> Vec<u8> {
    outbox.go_on();
    let mut given = Vec::new();
    let read = poll_fn(|cx| {
        loop {
            refuse(other, many);
            let mut part = [0; 1024];
            let mut part = ReadBuf::new(&mut part);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut part)).unwrap();
            given.extend_from_slice(part.filled());
        }
    });
    let read: Result<(), _> = timeout(SOON, read).await;
    assert!(read.is_err());
    given
}

/// Who has many calls refused has the next one read later. What belongs to calls that have begun is read meanwhile, and
/// answers leave.
#[tokio::test]
async fn a_pause_holds_up_calls_alone() {
    let admission = admission();
    // The more connections there are, the longer a pause may be: long enough here for a machine under load.
    let _others: Vec<_> = (0..10_000)
        .map(|_| admission.share(Source::default()))
        .collect();
    let (mut socket, outbox, mut client) = pair_of(&admission).await;
    client.write_all(BEGUN).await.unwrap();
    let mut begun = [0; BEGUN.len()];
    socket.read_exact(&mut begun).await.unwrap();
    let paused = loop {
        refuse(&socket.share, 1_000);
        match socket.share.paused_until() {
            Some(until) if until > Instant::now() + SOON * 30 => break until,
            _ => {}
        }
    };
    let sent = [frame(PING, 0), frame(HEADERS, 1)];
    client.write_all(&sent.concat()).await.unwrap();
    socket.write_all(b"answer").await.unwrap();
    send(&outbox).await;
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
    let mut read = vec![0; sent[0].len()];
    socket.read_exact(&mut read).await.unwrap();
    assert!(Instant::now() < paused, "a ping waits for nothing");
    assert_eq!(read, sent[0]);
    socket.read_exact(&mut read).await.unwrap();
    assert!(Instant::now() >= paused);
    assert_eq!(read, sent[1]);
}

/// The first call is always read alone. It says whose connection it is, and whether the next ones are, too.
#[tokio::test]
async fn calls_are_read_one_by_one_when_many_were_refused() {
    for (refused, at_once) in [(0, 3), (300, 1)] {
        let admission = admission();
        let crowd = (&*admission.share(Source::default()), refused);
        let (mut socket, outbox, mut client) = pair_of(&admission).await;
        let call = |stream| [frame(HEADERS, stream), frame(DATA, stream)].concat();
        let calls = [1, 3, 5, 7].map(call).concat();
        client.write_all(&[BEGUN, &calls].concat()).await.unwrap();
        let first = given(&mut socket, &outbox, crowd).await;
        assert_eq!(first, [BEGUN, &call(1)].concat(), "a call with its message");
        assert_eq!((outbox.opened(), outbox.is_held()), (1, true));
        given(&mut socket, &outbox, crowd).await;
        assert_eq!(outbox.opened(), 1 + at_once, "{refused}");
    }
}

/// What comes over one connection would otherwise keep a thread busy for as long as it comes.
#[tokio::test]
async fn one_connection_gives_others_their_turn() {
    let (mut socket, outbox, mut client) = pair().await;
    // They pay for themselves.
    let data = http2::frame(DATA, 0, 1, &[0; 2048]);
    let frames = [BEGUN.to_vec(), data.repeat(50)].concat();
    let nobody = admission();
    let mut turns = Vec::new();
    let sent = frames.len();
    let writing = tokio::spawn(async move {
        client.write_all(&frames).await.unwrap();
        client
    });
    while turns.iter().sum::<usize>() < sent {
        let given = given(&mut socket, &outbox, (&*nobody.share(Source::default()), 0)).await;
        assert_eq!(outbox.is_held(), given.len() >= AT_ONCE);
        turns.push(given.len());
    }
    assert!(turns.len() >= sent / (AT_ONCE + 1024), "{turns:?}");
    assert!(
        turns.iter().all(|turn| *turn <= AT_ONCE + 1024),
        "{turns:?}"
    );
    drop(writing);
}

async fn send(outbox: &Outbox) {
    assert!(poll_fn(|cx| Poll::Ready(outbox.send(cx))).await.unwrap());
}

#[tokio::test]
async fn pieces_leave_together_when_they_are_sent() {
    let (mut socket, outbox, mut client) = pair().await;
    let mut received = [0; 64];
    for piece in ["head", "body", "tail"] {
        socket.write_all(piece.as_bytes()).await.unwrap();
        socket.flush().await.unwrap();
    }
    assert!(timeout(SOON, client.read(&mut received)).await.is_err());
    send(&outbox).await;
    let read = client.read(&mut received).await.unwrap();
    assert_eq!(&received[..read], b"headbodytail");
}

#[tokio::test]
async fn what_is_collected_is_bounded_and_nothing_is_lost() {
    let (mut socket, outbox, mut client) = pair().await;
    let sent: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let (mut rest, mut most) = (&sent[..], 0);
    // The client reads nothing, so that the kernel takes no more at some point.
    while let Ok(written) = timeout(SOON, socket.write(rest)).await {
        rest = &rest[written.unwrap()..];
        let shared = lock(&outbox.0);
        most = most.max(shared.outgoing.capacity());
    }
    assert_eq!(most, COLLECTED);
    assert!(!rest.is_empty(), "the kernel took everything");
    let mut received = vec![0; sent.len()];
    let reading = client.read_exact(&mut received);
    let writing = async {
        socket.write_all(rest).await.unwrap();
        socket.shutdown().await.unwrap();
    };
    let (read, ()) = tokio::join!(reading, writing);
    assert_eq!(read.unwrap(), sent.len());
    assert!(received == sent);
}

#[tokio::test]
async fn a_connection_is_silent_after_some_looks_without_a_byte() {
    let (mut socket, outbox, mut client) = pair().await;
    let looks = |outbox: &Outbox| (0..).take_while(|_| !outbox.look_for_silence()).count();
    assert_eq!(looks(&outbox), LOOKS as usize);
    client.write_all(b"x").await.unwrap();
    socket.read_u8().await.unwrap();
    assert_eq!(looks(&outbox), LOOKS as usize);
}

#[tokio::test]
async fn a_connection_that_is_not_used_keeps_no_memory() {
    let (mut socket, outbox, mut client) = pair().await;
    client.write_all(b"x").await.unwrap();
    socket.read_u8().await.unwrap();
    socket.write_all(b"answer").await.unwrap();
    send(&outbox).await;
    let room = |outbox: &Outbox| lock(&outbox.0).outgoing.capacity();
    assert!(!outbox.look_for_silence());
    assert_eq!(room(&outbox), LEAST, "it may be used again soon");
    assert!(!outbox.look_for_silence());
    assert_eq!(room(&outbox), 0);
}
