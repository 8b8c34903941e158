//! The socket of a connection, with limits on its silence.
//!
//! HTTP/2 writes an answer in several pieces, and the answers of several calls one after the other. The socket collects
//! them, and [`Outbox::send`] gives them to the kernel together.

mod allowance;
mod incoming;
mod outgoing;
mod silence;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

pub(in crate::server) use self::silence::Silence;
use self::{
    incoming::Incoming,
    outgoing::{COLLECTED, Outgoing},
};
use super::{beginning::Beginning, frames::Head, wire::Transport};
use crate::{rpc::admission::Share, types::lock};

/// How many bytes HTTP/2 gets at once, about, before other connections have their turn. The smallest frames of so many keep a
/// thread busy for a fraction of a millisecond.
const AT_ONCE: usize = 16 * 1024;

/// The socket of a connection, as HTTP/2 sees it.
pub(super) struct Socket {
    shared: Arc<Mutex<Shared>>,
    /// Says when no calls are read.
    share: Arc<Share>,
    /// The end of a pause in which none are.
    pause: Option<Pin<Box<Sleep>>>,
    /// The end of a time in which nothing is read.
    rest: Option<Pin<Box<Sleep>>>,
    /// `None` when HTTP/2 has begun. From then on its pings find out whether the client is there.
    beginning: Option<Beginning>,
}

/// What is collected for a [`Socket`].
pub(super) struct Outbox(Arc<Mutex<Shared>>);

struct Shared {
    stream: Transport,
    outgoing: Outgoing,
    incoming: Incoming,
    /// The head of a frame that was read, and that HTTP/2 hasn't been given.
    head: Head,
    given: Given,
}

/// How far HTTP/2 is with what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// It may not have looked at all of it.
    More,
    /// It has the headers of a call, and gets what of the call has come with them. A call whose message came later would hold a
    /// place in vain until then, and one that is refused without its message would be reset.
    Call,
    /// It has a call, or as much as it gets at once, and gets nothing more until [`Outbox::go_on`].
    Held,
    /// It has asked for more, and nothing is there, or it has to wait.
    All,
}

/// Wraps the socket of a connection, which has to begin with HTTP/2 before `begin`. While the connection's `share` says so, no
/// calls are read. What else comes is: the rest of calls, and what HTTP/2 itself has to say.
pub(super) fn wrap(mut stream: Transport, begin: Instant, share: Arc<Share>) -> (Socket, Outbox) {
    if let Transport::Tls(stream) = &mut stream {
        // Otherwise TLS would take more ahead of the client's reading than is collected here.
        stream.get_mut().1.set_buffer_limit(Some(COLLECTED));
    }
    let shared = Arc::new(Mutex::new(Shared {
        stream,
        outgoing: Outgoing::default(),
        incoming: Incoming::default(),
        head: Head::default(),
        given: Given::More,
    }));
    let socket = Socket {
        shared: Arc::clone(&shared),
        share,
        pause: None,
        rest: None,
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
        lock(&self.0).incoming.frames.opened()
    }

    /// Returns whether HTTP/2 has looked at all of them.
    pub fn is_looked_at(&self) -> bool {
        matches!(lock(&self.0).given, Given::Held | Given::All)
    }

    /// Returns whether HTTP/2 is kept from reading on. It isn't woken: [`go_on`](Self::go_on) lets it read, when others have had
    /// their turn.
    pub fn is_held(&self) -> bool {
        lock(&self.0).given == Given::Held
    }

    /// Lets HTTP/2 read on.
    pub fn go_on(&self) {
        let mut shared = lock(&self.0);
        (shared.given, shared.incoming.at_once) = (Given::More, 0);
    }

    /// Returns whether nothing came, or nothing could be sent, for too many looks. Has to be called regularly.
    pub fn look_for_silence(&self) -> bool {
        let mut shared = lock(&self.0);
        if shared.incoming.silence.has_begun() {
            // A connection that nothing came over for a while keeps no memory for answers.
            shared.outgoing.free();
        }
        let reading = shared.incoming.silence.look(false);
        let writing = shared.outgoing.look_for_silence();
        reading || writing
    }
}

impl Shared {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_send(&mut self.stream, cx)
    }

    fn poll_collect(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(self.outgoing.poll_collect(&mut self.stream, cx, pieces))?;
        self.incoming.allowance.note_sent(taken);
        Poll::Ready(Ok(taken))
    }

    /// Reads the head of the next frame to its end, unless it is read already, or a frame is under way.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.incoming.frames.is_in_head()
            && let Some(rest) = self.head.rest()
        {
            let mut part = ReadBuf::new(rest);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
            let read = part.filled();
            if read.is_empty() {
                break;
            }
            let length = read.len();
            self.incoming.note(read);
            self.head.note(length);
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
                let most = buf.remaining().min(self.incoming.frames.next());
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
            self.incoming.note(read);
        }
        polled
    }
}

impl Socket {
    /// Reads as much as HTTP/2 may have now.
    fn poll_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.shared);
        if shared.given == Given::Held || shared.incoming.at_once >= AT_ONCE {
            shared.given = Given::Held;
            return Poll::Pending;
        }
        let has_call = shared.given == Given::Call;
        shared.given = Given::All;
        let opened = shared.incoming.frames.opened();
        while let Some(until) = shared.incoming.allowance.spent_until() {
            let rest = self
                .rest
                .get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        // The first call says whose connection it is.
        let is_slow = opened == 0 || has_call || self.share.is_slow();
        if is_slow {
            ready!(shared.poll_head(cx))?;
            if !shared.head.is_empty() && shared.incoming.frames.has_headers() {
                if has_call {
                    shared.given = Given::Held;
                    return Poll::Pending;
                }
                ready!(self.share.poll_pause(&mut self.pause, cx));
            }
        }
        ready!(shared.poll_read(cx, buf, is_slow))?;
        shared.given = match is_slow && (has_call || shared.incoming.frames.opened() > opened) {
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
        if beginning.note_read(read) {
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
