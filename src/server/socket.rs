//! The socket of a connection, with limits on its silence.
//!
//! HTTP/2 writes an answer in several pieces, and the answers of several calls one after the other. The socket collects
//! them, and [`Outbox::send`] gives them to the kernel together.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use zeroize::Zeroize;

use super::{
    beginning::Beginning,
    frames::{Frames, Head},
    wire::Transport,
};
use crate::{rpc::admission::Share, types::SecretBytes};

/// How many bytes are collected at most.
const COLLECTED: usize = 16 * 1024;
/// For how many bytes there is room at first.
const LEAST: usize = 256;
/// In how many looks a connection is found to be silent.
const LOOKS: u32 = 8;

/// The socket of a connection, as HTTP/2 sees it.
pub(super) struct Socket {
    shared: Arc<Mutex<Shared>>,
    /// Says when no calls are read.
    share: Arc<Share>,
    /// The end of a pause in which none are.
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
    /// What was read.
    frames: Frames,
    /// The head of a frame that was read, and that HTTP/2 hasn't been given.
    head: Head,
    given: Given,
    reading: Silence,
    writing: Silence,
}

/// How far HTTP/2 is with what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// It may not have looked at all of it.
    More,
    /// It has the headers of a call, and gets what of the call has come with them. A call whose message came later would hold a
    /// place in vain until then, and one that is refused without its message would be reset.
    Call,
    /// It has a call, and gets no other one until [`Outbox::go_on`].
    Held,
    /// It has asked for more, and nothing is there, or it has to wait.
    All,
}

/// For how many looks nothing has come, or nothing could be sent.
#[derive(Clone, Copy, Default)]
struct Silence(u32);

/// Wraps the socket of a connection, which has to begin with HTTP/2 before `begin`. While the connection's `share` says so, no
/// calls are read. What else comes is: the rest of calls, and what HTTP/2 itself has to say.
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
        frames: Frames::default(),
        head: Head::default(),
        given: Given::More,
        reading: Silence::default(),
        writing: Silence::default(),
    }));
    let socket = Socket {
        shared: Arc::clone(&shared),
        share,
        pause: None,
        beginning: Some(Beginning::until(begin)),
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

    /// Returns how many calls the client has opened.
    pub fn opened(&self) -> u64 {
        lock(&self.0).frames.opened()
    }

    /// Returns whether HTTP/2 has looked at all of them.
    pub fn is_looked_at(&self) -> bool {
        matches!(lock(&self.0).given, Given::Held | Given::All)
    }

    /// Returns whether HTTP/2 is kept from reading on by a call. It isn't woken: [`go_on`](Self::go_on) lets it read, when others
    /// have had their turn.
    pub fn is_held(&self) -> bool {
        lock(&self.0).given == Given::Held
    }

    /// Lets HTTP/2 read on after a call.
    pub fn go_on(&self) {
        lock(&self.0).given = Given::More;
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

impl Shared {
    /// Reads the head of the next frame to its end, unless it is read already, or a frame is under way.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.frames.is_in_head()
            && let Some(rest) = self.head.rest()
        {
            let mut part = ReadBuf::new(rest);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
            let read = part.filled();
            if read.is_empty() {
                break;
            }
            self.frames.read(read);
            let read = read.len();
            self.head.note(read);
            self.reading.end();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what has come. If it `is_slow`, this is no more than the rest of the headers of one call.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        is_slow: bool,
    ) -> Poll<io::Result<()>> {
        if self.head.give(buf) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let stream = Pin::new(&mut self.stream);
        let polled = match is_slow {
            true => {
                let most = buf.remaining().min(self.frames.next());
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
                let polled = stream.poll_read(cx, &mut part);
                let read = part.filled().len();
                buf.advance(read);
                polled
            }
            false => stream.poll_read(cx, buf),
        };
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            self.frames.read(read);
            self.reading.end();
        }
        polled
    }
}

impl Socket {
    /// Reads as much as HTTP/2 may have now.
    fn poll_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.shared);
        if shared.given == Given::Held {
            return Poll::Pending;
        }
        let has_call = shared.given == Given::Call;
        shared.given = Given::All;
        let opened = shared.frames.opened();
        // The first call says whose connection it is.
        let is_slow = opened == 0 || has_call || self.share.is_slow();
        if is_slow {
            ready!(shared.poll_head(cx))?;
            if !shared.head.is_empty() && shared.frames.has_headers() {
                if has_call {
                    shared.given = Given::Held;
                    return Poll::Pending;
                }
                ready!(self.share.poll_pause(&mut self.pause, cx));
            }
        }
        ready!(shared.poll_read(cx, buf, is_slow))?;
        shared.given = match is_slow && (has_call || shared.frames.opened() > opened) {
            true => Given::Call,
            false => Given::More,
        };
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.poll_more(cx, buf);
        let Some(beginning) = &mut self.beginning else {
            return polled;
        };
        let read = buf.filled().len() - before;
        if beginning.has_come(read) {
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
        let stream = Transport::Plain(Wire::Tcp(accepted.unwrap().0));
        let begin = Instant::now() + Duration::from_secs(10);
        let (socket, outbox) = wrap(stream, begin, admission.share());
        (socket, outbox, client.unwrap())
    }

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PING: u8 = 6;

    /// The beginning of HTTP/2.
    const BEGUN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// Returns a frame with eight bytes. If it has headers, these are all of a call.
    fn frame(kind: u8, stream: u8) -> Vec<u8> {
        [&[0, 0, 8, kind, 4, 0, 0, 0, stream][..], &[0; 8]].concat()
    }

    /// Has so many calls refused.
    fn refuse(share: &Share, many: usize) {
        (0..many).for_each(|_| share.note_refused(None));
    }

    /// Returns what HTTP/2 gets until it has to wait, while somebody else has so many calls refused.
    async fn given(
        socket: &mut Socket,
        outbox: &Outbox,
        (other, many): (&Share, usize),
    ) -> Vec<u8> {
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
        let (mut socket, outbox, mut client) = pair().await;
        client.write_all(BEGUN).await.unwrap();
        let mut begun = [0; BEGUN.len()];
        socket.read_exact(&mut begun).await.unwrap();
        let paused = loop {
            refuse(&socket.share, 1_000);
            match socket.share.paused_until() {
                Some(until) if until > Instant::now() + SOON * 3 / 2 => break until,
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
            let crowd = (&*admission.share(), refused);
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
