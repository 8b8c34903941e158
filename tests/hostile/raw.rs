//! An HTTP/2 client that breaks rules: it sends whichever frames a test wants, and reads or doesn't.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use prost::Message;
use testkit::http2::read_frame;
pub use testkit::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame,
};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// A setting: how many bytes the broker may send on a stream before the client has read some.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// A connection to a broker. It is closed when this is dropped.
pub struct Raw {
    write: OwnedWriteHalf,
    read: Option<OwnedReadHalf>,
    reader: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<Frame>>>,
    next: u32,
}

/// The bytes that may be sent on any stream, and over any connection, before the broker grants more.
const WINDOW: usize = 65_535;

/// What the broker sent: a frame without its payload.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub length: usize,
    /// How much more may be sent, if this grants anything.
    pub granted: usize,
    /// Whether it says that the answer was whole, and that nobody needs what is still to come of the request.
    pub is_no_error: bool,
}

/// Counts the streams of a connection that the broker has ended.
pub struct Ends(Arc<Mutex<Vec<Frame>>>);

impl Ends {
    pub fn count(&self) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|frame| frame.is_end())
            .count()
    }
}

impl Frame {
    /// Whether this is the last frame of a stream.
    fn is_end(&self) -> bool {
        let answer = matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0;
        answer || self.is_reset()
    }

    /// Whether the stream ends without a whole answer.
    fn is_reset(&self) -> bool {
        self.kind == RST_STREAM && !self.is_no_error
    }
}

impl Raw {
    /// Connects and begins HTTP/2 with these settings. Nothing is read yet.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let mut raw = Self {
            write,
            read: Some(read),
            reader: None,
            seen: Arc::default(),
            next: 1,
        };
        raw.bytes(PREFACE).await?;
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        raw.frame(SETTINGS, 0, 0, &payload).await?;
        Ok(raw)
    }

    /// Begins to read what the broker sends, without giving it more room to send.
    pub fn reading(mut self) -> Self {
        let (mut read, seen) = (self.read.take().unwrap(), Arc::clone(&self.seen));
        self.reader = Some(tokio::spawn(async move {
            while let Ok(frame) = read_frame(&mut read).await {
                let granted = match (frame.kind, frame.payload.first_chunk()) {
                    (WINDOW_UPDATE, Some(granted)) => u32::from_be_bytes(*granted) as usize,
                    _ => 0,
                };
                seen.lock().unwrap().push(Frame {
                    granted,
                    is_no_error: frame.kind == RST_STREAM && frame.payload == [0; 4],
                    kind: frame.kind,
                    flags: frame.flags,
                    stream: frame.stream,
                    length: frame.payload.len(),
                });
            }
        }));
        self
    }

    /// Returns whether the broker has closed the connection, which must be [`reading`](Self::reading).
    pub fn is_closed(&self) -> bool {
        self.reader.as_ref().unwrap().is_finished()
    }

    /// Returns how many frames of a kind the broker has sent.
    pub fn count(&self, kind: u8) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|frame| frame.kind == kind).count()
    }

    /// Returns how many streams the broker has reset.
    pub fn resets(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|frame| frame.is_reset()).count()
    }

    /// Returns how many bytes of answers the broker has sent.
    pub fn received(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        let data = seen.iter().filter(|frame| frame.kind == DATA);
        data.map(|frame| frame.length).sum()
    }

    /// Returns whether the broker takes a payload of `more` bytes on `stream`, the only one with payloads, where
    /// `sent` were sent.
    pub fn takes(&self, stream: u32, sent: usize, more: usize) -> bool {
        let seen = self.seen.lock().unwrap();
        [0, stream].into_iter().all(|of| {
            let updates = seen.iter().filter(|frame| frame.stream == of);
            let granted: usize = updates.map(|frame| frame.granted).sum();
            sent + more <= WINDOW + granted
        })
    }

    /// Returns how many streams the broker has ended, either way.
    pub fn ended(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        let ends = seen.iter().filter(|frame| frame.is_end());
        let mut streams: Vec<_> = ends.map(|frame| frame.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        streams.len()
    }

    /// Returns what counts the streams that the broker has ended, while this is used elsewhere. None may end twice.
    pub fn ends(&self) -> Ends {
        Ends(Arc::clone(&self.seen))
    }

    /// Sends bytes as they are.
    pub async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await
    }

    /// Sends a frame.
    pub async fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.bytes(&frame(kind, flags, stream, payload)).await
    }

    /// Opens a stream for a call of `path`, and returns its number.
    pub async fn open(&mut self, path: &str) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        self.frame(HEADERS, END_HEADERS, stream, &headers(path))
            .await?;
        Ok(stream)
    }

    /// Makes a call of `TokenBroker` whose request is complete, and returns its stream.
    pub async fn call(&mut self, method: &str, message: &impl Message) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        let path = broker_path(method);
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &headers(&path));
        bytes.extend(frame(DATA, END_STREAM, stream, &in_grpc(message)));
        self.bytes(&bytes).await?;
        Ok(stream)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

/// Returns a message as gRPC frames it.
pub fn in_grpc(message: &impl Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).unwrap();
    let mut framed = vec![0];
    framed.extend(length.to_be_bytes());
    framed.extend(message.encode_to_vec());
    framed
}

/// Returns the path of a method of `TokenBroker`.
pub fn broker_path(method: &str) -> String {
    format!("/tokenbroker.v1.TokenBroker/{method}")
}

/// Returns the headers of a call of `path`, encoded without HPACK's tables.
pub fn headers(path: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "broker"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ] {
        encoded.extend(header(name, value));
    }
    encoded
}

/// Returns one header, encoded without HPACK's tables. Both texts are shorter than 127 bytes.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    let mut encoded = vec![0];
    for text in [name, value] {
        encoded.push(u8::try_from(text.len()).unwrap());
        assert!(text.len() < 127);
        encoded.extend(text.as_bytes());
    }
    encoded
}
