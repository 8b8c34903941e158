//! Notes whether a request was written whole.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What ends the head of a request.
const END: [u8; 4] = *b"\r\n\r\n";

/// How much of a request was handed to the connection.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Bytes of the body.
    body: AtomicU64,
    /// Whether the head was written whole.
    head: AtomicBool,
}

impl Written {
    /// Whether a request with a body of `length` bytes may have left whole.
    pub fn is_whole(&self, length: u64) -> bool {
        self.head.load(Ordering::SeqCst) && self.body.load(Ordering::SeqCst) >= length
    }
}

/// A stream that notes what of one request is written to it.
pub(super) struct Counted<S> {
    stream: S,
    written: Arc<Written>,
    /// How many bytes of [`END`] were written last.
    matched: usize,
}

impl<S> Counted<S> {
    /// Wraps a stream to which nothing of the request was written yet.
    pub fn new(stream: S) -> (Self, Arc<Written>) {
        let written = Arc::<Written>::default();
        let counted = Self {
            stream,
            written: Arc::clone(&written),
            matched: 0,
        };
        (counted, written)
    }

    fn note(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().enumerate() {
            if self.written.head.load(Ordering::SeqCst) {
                let rest = (bytes.len() - at) as u64;
                self.written.body.fetch_add(rest, Ordering::SeqCst);
                return;
            }
            self.matched = match *byte {
                byte if byte == END[self.matched] => self.matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if self.matched == END.len() {
                self.written.head.store(true, Ordering::SeqCst);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            self.note(&bytes[..count]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_the_last_byte_of_its_body() {
        let request = b"POST / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        // However the bytes are divided between writes.
        for size in 1..=request.len() {
            let (mut counted, written) = Counted::new(());
            let (last, before) = request.split_last().unwrap();
            for bytes in before.chunks(size) {
                counted.note(bytes);
                assert!(!written.is_whole(4), "{size}");
            }
            counted.note(&[*last]);
            assert!(written.is_whole(4), "{size}");
        }
    }

    #[test]
    fn an_end_that_begins_anew_is_an_end() {
        let (mut counted, written) = Counted::new(());
        counted.note(b"GET / HTTP/1.1\r\r\n\r\n");
        assert!(written.is_whole(0));
    }

    #[test]
    fn a_request_without_a_body_is_whole_with_its_head() {
        let (mut counted, written) = Counted::new(());
        counted.note(b"GET / HTTP/1.1\r\n\r");
        assert!(!written.is_whole(0));
        counted.note(b"\n");
        assert!(written.is_whole(0));
    }
}
