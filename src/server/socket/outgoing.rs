//! What HTTP/2 has written and the kernel hasn't taken.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::{super::wire::Transport, silence::Silence};
use crate::types::SecretBytes;

/// How many bytes are collected at most.
pub(super) const COLLECTED: usize = 16 * 1024;
/// For how many bytes there is room at first.
pub(super) const LEAST: usize = 256;

/// The bytes that leave a connection.
#[derive(Default)]
pub(super) struct Outgoing {
    /// It may hold tokens.
    collected: SecretBytes,
    /// How much of that the kernel has taken.
    taken: usize,
    /// Whether all of it was taken, and TLS still has some of it.
    is_flushing: bool,
    silence: Silence,
}

impl Outgoing {
    /// Gives the kernel what was collected. It is ready when all of that has left.
    pub fn poll_send(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let rest = &self.collected[self.taken..]
            && !rest.is_empty()
        {
            let taken = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
            self.is_flushing = true;
            self.silence.end();
        }
        self.wipe();
        if self.is_flushing {
            ready!(Pin::new(&mut *stream).poll_flush(cx))?;
            self.is_flushing = false;
            self.silence.end();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes as much of what HTTP/2 writes as there is room for.
    pub fn poll_collect(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.collected.len() >= COLLECTED {
            ready!(self.poll_send(stream, cx))?;
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

    /// Takes a regular look. Returns whether nothing could be sent for too many of them. What has nothing to send isn't silent.
    pub fn look_for_silence(&mut self) -> bool {
        let is_idle = self.is_empty();
        self.silence.look(is_idle)
    }

    fn is_empty(&self) -> bool {
        self.collected.is_empty() && !self.is_flushing
    }

    /// Returns for how many bytes there is room.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.collected.capacity()
    }

    /// Keeps no memory, if there is nothing to send.
    pub fn free(&mut self) {
        if self.is_empty() {
            self.collected = SecretBytes::default();
        }
    }

    /// Makes room for so many bytes more, but not beyond the limit. A connection that sends little needs little memory.
    fn make_room(&mut self, more: usize) {
        let needed = self.collected.len().saturating_add(more).min(COLLECTED);
        if needed <= self.collected.capacity() {
            return;
        }
        let room = needed.next_power_of_two().max(LEAST);
        self.collected.reserve_exact(room - self.collected.len());
    }

    fn wipe(&mut self) {
        self.collected.clear();
        self.taken = 0;
    }
}
