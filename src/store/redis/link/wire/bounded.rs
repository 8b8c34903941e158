//! A connection that leaves out values that are too large, so that they take no memory.
//!
//! The client of Redis would take as much memory as a server announces. All that RESP announces by its length is a string, of
//! the kinds `$`, `!` and `=`. Everything else is a line. So nothing has to be known of how answers are nested.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    store::redis::largest::{Largest, TOO_LARGE},
    types::SecretBytes,
};

/// A stream over which a server answers. A string that is too large comes as [`TOO_LARGE`].
pub struct Bounded<S> {
    stream: S,
    filter: Filter,
    /// What was read and passes, and how much of it was handed on. Mostly bytes pass where they are.
    ready: SecretBytes,
    handed: usize,
}

impl<S> Bounded<S> {
    /// Reads from `stream`.
    pub fn new(stream: S, largest: Largest) -> Self {
        Self {
            stream,
            filter: Filter {
                largest,
                next: Next::Start,
                held: Vec::new(),
            },
            ready: SecretBytes::default(),
            handed: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let rest = this.ready.get(this.handed..).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(buf.remaining());
                buf.put_slice(&rest[..count]);
                this.handed += count;
                return Poll::Ready(Ok(()));
            }
            this.ready.clear();
            this.handed = 0;
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            let read = &buf.filled()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match this.filter.pass(read) {
                None => return Poll::Ready(Ok(())),
                Some(passed) => {
                    buf.set_filled(before);
                    this.ready = passed;
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Tells strings that are too large from everything else.
struct Filter {
    largest: Largest,
    next: Next,
    /// The beginning of a length whose end hasn't come yet.
    held: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy)]
enum Next {
    /// It says of what kind the next item is.
    Start,
    /// A line, up to its end.
    Line,
    /// The length of a string, of which this much has come.
    Length(usize),
    /// A string that passes, with so many bytes left.
    Passes(usize),
    /// A string that is too large, with so many bytes left.
    Skipped(usize),
}

impl Filter {
    /// Returns what passes of some bytes, or `None` if all of them do.
    fn pass(&mut self, bytes: &[u8]) -> Option<SecretBytes> {
        let mut passed = (!self.held.is_empty()).then(SecretBytes::default);
        // What is before `taken` is in `passed`, or was left out. A length begins at `length_at`.
        let (mut at, mut taken, mut length_at) = (0, 0, 0);
        while let Some(&byte) = bytes.get(at) {
            match self.next {
                Next::Start => {
                    length_at = at;
                    at += 1;
                    self.next = match byte {
                        b'$' | b'!' | b'=' => Next::Length(0),
                        _ => Next::Line,
                    };
                }
                Next::Line => match memchr(b'\n', &bytes[at..]) {
                    Some(end) => {
                        at += end + 1;
                        self.next = Next::Start;
                    }
                    None => at = bytes.len(),
                },
                Next::Length(length) => {
                    at += 1;
                    self.next = match byte {
                        b'0'..=b'9' => {
                            let digit = usize::from(byte - b'0');
                            Next::Length(length.saturating_mul(10).saturating_add(digit))
                        }
                        b'\r' => Next::Length(length),
                        // With the end of its line.
                        b'\n' if length <= self.largest.bytes() => Next::Passes(length + 2),
                        b'\n' => {
                            self.largest.exceeded();
                            let passed = passed.get_or_insert_default();
                            passed.extend_from_slice(&bytes[taken..length_at]);
                            passed
                                .extend_from_slice(format!("${}\r\n", TOO_LARGE.len()).as_bytes());
                            passed.extend_from_slice(TOO_LARGE);
                            passed.extend_from_slice(b"\r\n");
                            taken = at;
                            self.held.clear();
                            Next::Skipped(length.saturating_add(2))
                        }
                        // No string is there, or none whose length is known.
                        _ => Next::Line,
                    };
                    if !matches!(self.next, Next::Length(_))
                        && let Some(passed) = &mut passed
                    {
                        passed.extend_from_slice(&self.held);
                        self.held.clear();
                    }
                }
                Next::Passes(left) => {
                    let count = left.min(bytes.len() - at);
                    at += count;
                    self.next = match left - count {
                        0 => Next::Start,
                        left => Next::Passes(left),
                    };
                }
                Next::Skipped(left) => {
                    let count = left.min(bytes.len() - at);
                    at += count;
                    passed.get_or_insert_default();
                    taken = at;
                    self.next = match left - count {
                        0 => Next::Start,
                        left => Next::Skipped(left),
                    };
                }
            }
        }
        let mut end = bytes.len();
        if matches!(self.next, Next::Length(_)) {
            end = length_at;
            self.held.extend_from_slice(&bytes[length_at..]);
            passed.get_or_insert_default();
        }
        if let Some(passed) = &mut passed {
            passed.extend_from_slice(&bytes[taken..end]);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    const LARGE: usize = 1 << 20;

    /// Passes `bytes` in pieces, which are as long as `pieces` says in turn.
    fn in_pieces(bytes: &[u8], pieces: &[usize]) -> Vec<u8> {
        let largest = Largest::for_messages(1);
        let (mut filter, mut passed) = (Bounded::new((), largest).filter, Vec::new());
        let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
            match filter.pass(piece) {
                Some(some) => passed.extend_from_slice(&some),
                None => passed.extend_from_slice(piece),
            }
            rest = later;
        }
        passed
    }

    fn string(kind: char, length: usize) -> Vec<u8> {
        // It looks like another item all the time.
        let mut bytes = format!("{kind}{length}\r\n").into_bytes();
        bytes.extend(b"$99\r\n".iter().cycle().take(length));
        bytes.extend(b"\r\n");
        bytes
    }

    fn too_large() -> Vec<u8> {
        [b"$10\r\n", TOO_LARGE, b"\r\n"].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Whatever comes in whatever pieces, all passes that isn't too large, byte for byte.
        #[test]
        fn only_what_is_too_large_is_left_out(
            items in prop::collection::vec(0_usize..9, 1..12),
            pieces in prop::collection::vec(prop_oneof![1_usize..9, 1_000_usize..400_000], 1..9),
        ) {
            let item = |kind| match kind {
                0 => (b"+OK $5\r\n".to_vec(), b"+OK $5\r\n".to_vec()),
                1 => (b"*2\r\n".to_vec(), b"*2\r\n".to_vec()),
                2 => (b"$-1\r\n".to_vec(), b"$-1\r\n".to_vec()),
                3 => (b":12345678901234\r\n".to_vec(), b":12345678901234\r\n".to_vec()),
                4 => (string('$', 0), string('$', 0)),
                5 => (string('=', 300), string('=', 300)),
                6 => (string('!', LARGE + 1), too_large()),
                7 => (string('$', LARGE + 1), too_large()),
                _ => (string('$', LARGE), string('$', LARGE)),
            };
            let (sent, expected): (Vec<_>, Vec<_>) = items.iter().copied().map(item).unzip();
            // Pieces of a few bytes are for small items.
            let is_small = sent.iter().all(|item| item.len() < LARGE);
            let pieces: Vec<_> = pieces.iter().map(|&piece| if is_small { piece } else { piece.max(1_000) + 7 }).collect();
            prop_assert!(in_pieces(&sent.concat(), &pieces) == expected.concat());
        }
    }

    #[test]
    fn a_length_in_pieces_is_a_length() {
        let sent = [string('$', LARGE + 3), string('$', 12)].concat();
        let expected = [too_large(), string('$', 12)].concat();
        for first in 1..14 {
            assert!(in_pieces(&sent, &[first, LARGE]) == expected, "{first}");
        }
        assert_eq!(
            in_pieces(b"$12\r\n123456789012\r\n", &[1]),
            b"$12\r\n123456789012\r\n"
        );
    }

    #[tokio::test]
    async fn a_stream_ends_where_the_server_ends_it() {
        let sent = [string('$', 5 * LARGE), b"+OK\r\n".to_vec()].concat();
        let mut stream = Bounded::new(Cursor::new(sent), Largest::for_messages(1));
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, [too_large(), b"+OK\r\n".to_vec()].concat());
        assert!(stream.filter.largest.was_exceeded_lately());
    }
}
