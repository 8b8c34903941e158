//! The socket of a connection, with limits on its silence.
//!
//! HTTP/2 writes an answer in several pieces, and the answers of several calls one after the other. The socket collects
//! them, and [`Outbox::send`] gives them to the kernel together.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use zeroize::Zeroize;

use super::wire::Transport;
use crate::{rpc::admission::Share, types::SecretBytes};

/// How many bytes the beginning of a connection has at least: the preface of HTTP/2, and an empty frame of
/// settings.
const BEGINNING: usize = 24 + 9;
/// How many bytes are collected at most.
const COLLECTED: usize = 16 * 1024;
/// For how many bytes there is room at first.
const LEAST: usize = 256;
/// How many bytes are read at once after a pause: about a dozen calls.
const PART: usize = 1024;
/// How long to wait until more is read after that.
const BETWEEN: Duration = Duration::from_millis(1);
/// In how many looks a connection is found to be silent.
const LOOKS: u32 = 8;

/// The socket of a connection, as HTTP/2 sees it.
pub(super) struct Socket {
    shared: Arc<Mutex<Shared>>,
    /// Says when it isn't read.
    share: Arc<Share>,
    /// The end of a pause in which it isn't read.
    pause: Option<Pin<Box<Sleep>>>,
    /// `None` when HTTP/2 has begun. From then on its pings find out whether the client is there.
    beginning: Option<Beginning>,
}

/// What is collected for a [`Socket`].
pub(super) struct Outbox(Arc<Mutex<Shared>>);

struct Shared {
    stream: Transport,
    /// What HTTP/2 has written and the kernel hasn't taken. It may hold tokens.
    collected: SecretBytes,
    /// How much of that the kernel has taken.
    taken: usize,
    /// Whether all of it was taken, and TLS still has some of it.
    is_flushing: bool,
    reading: Silence,
    writing: Silence,
}

/// For how many looks nothing has come, or nothing could be sent.
#[derive(Clone, Copy, Default)]
struct Silence(u32);

/// The beginning of a connection, which the client has to send in time.
struct Beginning {
    missing: usize,
    end: Pin<Box<Sleep>>,
}

/// Wraps the socket of a connection, which has to begin with HTTP/2 before `begin`. While the connection's `share` says so, it
/// isn't read.
pub(super) fn wrap(mut stream: Transport, begin: Instant, share: Arc<Share>) -> (Socket, Outbox) {
    if let Transport::Tls(stream) = &mut stream {
        // Otherwise TLS would take more ahead of the client's reading than is collected here.
        stream.get_mut().1.set_buffer_limit(Some(COLLECTED));
    }
    let shared = Arc::new(Mutex::new(Shared {
        stream,
        collected: SecretBytes::default(),
        taken: 0,
        is_flushing: false,
        reading: Silence::default(),
        writing: Silence::default(),
    }));
    let socket = Socket {
        shared: Arc::clone(&shared),
        share,
        pause: None,
        beginning: Some(Beginning {
            missing: BEGINNING,
            end: Box::pin(sleep_until(begin)),
        }),
    };
    (socket, Outbox(shared))
}

impl Outbox {
    /// Gives the kernel what was collected, as far as it takes it. Returns whether that was all. This has to be called
    /// after HTTP/2 has done what it could, in the same task.
    ///
    /// # Errors
    /// Returns the error of the socket.
    pub fn send(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        match lock(&self.0).poll_send(cx) {
            Poll::Ready(sent) => sent.map(|()| true),
            // The task is woken when there is room.
            Poll::Pending => Ok(false),
        }
    }

    /// Returns whether nothing came, or nothing could be sent, for [`LOOKS`] looks. Has to be called regularly.
    pub fn is_silent(&self) -> bool {
        let mut shared = lock(&self.0);
        let is_idle = shared.collected.is_empty() && !shared.is_flushing;
        if is_idle && shared.reading.0 > 0 {
            // A connection that nothing came over for a while keeps no memory for answers.
            shared.collected = SecretBytes::default();
        }
        let reading = shared.reading.look(false);
        let writing = shared.writing.look(is_idle);
        reading || writing
    }

    /// Returns how long to wait between two looks if a connection may be silent for `idle`.
    pub fn pause(idle: Duration) -> Duration {
        (idle / LOOKS).max(Duration::from_millis(1))
    }
}

impl Silence {
    /// Takes note of a look, at something that is silent unless it has nothing to say. Returns whether it has been for
    /// too long.
    fn look(&mut self, is_idle: bool) -> bool {
        self.0 = if is_idle { 0 } else { self.0 + 1 };
        self.0 > LOOKS
    }

    fn end(&mut self) {
        self.0 = 0;
    }
}

impl Shared {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let rest = &self.collected[self.taken..]
            && !rest.is_empty()
        {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
            self.is_flushing = true;
            self.writing.end();
        }
        self.wipe();
        if self.is_flushing {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_flushing = false;
            self.writing.end();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes as much of what HTTP/2 writes as there is room for.
    fn poll_collect(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.collected.len() >= COLLECTED {
            ready!(self.poll_send(cx))?;
        }
        self.make_room(pieces.iter().map(|piece| piece.len()).sum());
        let before = self.collected.len();
        for piece in pieces {
            let room = COLLECTED - self.collected.len();
            let fits = &piece[..piece.len().min(room)];
            self.collected.extend_from_slice(fits);
            if fits.len() < piece.len() {
                break;
            }
        }
        Poll::Ready(Ok(self.collected.len() - before))
    }

    /// Makes room for so many bytes more, but not beyond the limit. A connection that sends little needs little memory.
    fn make_room(&mut self, more: usize) {
        let needed = self.collected.len().saturating_add(more).min(COLLECTED);
        if needed <= self.collected.capacity() {
            return;
        }
        // A vector that grows by itself would leave a copy behind.
        let mut larger = Vec::with_capacity(needed.next_power_of_two().max(LEAST));
        larger.extend_from_slice(&self.collected);
        self.collected = SecretBytes::new(larger);
    }

    fn wipe(&mut self) {
        self.collected.as_mut_slice().zeroize();
        self.collected.clear();
        self.taken = 0;
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Beginning {
    fn poll_is_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.as_mut().poll(cx)
    }
}

impl Socket {
    /// Waits while the connection isn't to be read.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let Some(until) = self.share.paused_until() else {
                return Poll::Ready(());
            };
            self.pause = Some(Box::pin(sleep_until(until)));
        }
    }
}

/// Reads a small part of what has come, so that not all of it becomes calls at once.
fn poll_part(
    stream: &mut Transport,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let most = buf.remaining().min(PART);
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
    ready!(Pin::new(stream).poll_read(cx, &mut part))?;
    let read = part.filled().len();
    buf.advance(read);
    Poll::Ready(Ok(()))
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_pause(cx));
        let before = buf.filled().len();
        let is_slow = self.share.is_slow();
        let mut shared = lock(&self.shared);
        let polled = match is_slow {
            true => poll_part(&mut shared.stream, cx, buf),
            false => Pin::new(&mut shared.stream).poll_read(cx, buf),
        };
        let read = buf.filled().len() - before;
        if read > 0 {
            shared.reading.end();
        }
        drop(shared);
        if is_slow && read > 0 {
            self.pause = Some(Box::pin(sleep_until(Instant::now() + BETWEEN)));
        }
        let Some(beginning) = &mut self.beginning else {
            return polled;
        };
        beginning.missing = beginning.missing.saturating_sub(read);
        if beginning.missing == 0 {
            self.beginning = None;
        } else if polled.is_pending() && beginning.poll_is_late(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.shared).poll_collect(cx, &[io::IoSlice::new(buf)])
    }

    /// Does nothing: what is collected is sent when HTTP/2 has done what it could.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.shared);
        ready!(shared.poll_send(cx))?;
        Pin::new(&mut shared.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.shared).poll_collect(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::{super::wire::Wire, *};
    use crate::rpc::{Admission, CallLimits};

    const SOON: Duration = Duration::from_millis(50);

    fn share() -> Arc<Share> {
        let limits = CallLimits {
            calls: 10,
            bytes: 10,
            largest: 10,
            of_a_tenant: None,
        };
        Admission::new(limits).share()
    }

    async fn pair() -> (Socket, Outbox, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = Transport::Plain(Wire::Tcp(accepted.unwrap().0));
        let (socket, outbox) = wrap(stream, Instant::now() + Duration::from_secs(10), share());
        (socket, outbox, client.unwrap())
    }

    /// Who has many calls refused is read on later, and its answers leave meanwhile.
    #[tokio::test]
    async fn a_pause_holds_up_reading_alone() {
        let (mut socket, outbox, mut client) = pair().await;
        client.write_all(b"x").await.unwrap();
        let begun = Instant::now();
        let paused = loop {
            socket.share.note_refused(None);
            match socket.share.paused_until() {
                Some(until) if until > begun + SOON => break until,
                _ => {}
            }
        };
        socket.write_all(b"answer").await.unwrap();
        let mut read = Box::pin(async {
            socket.read_u8().await.unwrap();
            Instant::now()
        });
        tokio::select! {
            biased;
            at = &mut read => assert!(at >= paused),
            () = send(&outbox) => {}
        }
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        assert!(read.await >= paused);
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
            most = most.max(shared.collected.capacity());
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
        let looks = |outbox: &Outbox| (0..).take_while(|_| !outbox.is_silent()).count();
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
        let room = |outbox: &Outbox| lock(&outbox.0).collected.capacity();
        assert!(!outbox.is_silent());
        assert_eq!(room(&outbox), LEAST, "it may be used again soon");
        assert!(!outbox.is_silent());
        assert_eq!(room(&outbox), 0);
    }
}
