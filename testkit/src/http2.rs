//! Frames of HTTP/2 (RFC 9113, sections 3.4 and 4.1), for clients that a library wouldn't let break its rules.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A part of a message.
pub const DATA: u8 = 0;
/// The headers with which a call or its answer begins, or ends.
pub const HEADERS: u8 = 1;
/// Ends a stream.
pub const RST_STREAM: u8 = 3;
/// What either side wants of the other.
pub const SETTINGS: u8 = 4;
/// Is answered by the same.
pub const PING: u8 = 6;
/// Ends a connection when its streams have ended.
pub const GOAWAY: u8 = 7;
/// Lets the other side send more.
pub const WINDOW_UPDATE: u8 = 8;
/// More headers.
pub const CONTINUATION: u8 = 9;

/// Nothing more comes on the stream.
pub const END_STREAM: u8 = 1;
/// No [`CONTINUATION`] comes.
pub const END_HEADERS: u8 = 4;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The same with settings, none of which differs from its default.
pub const BEGUN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame that was received.
#[derive(Debug)]
pub struct Frame {
    /// What it is, such as [`DATA`].
    pub kind: u8,
    /// Such as [`END_STREAM`].
    pub flags: u8,
    /// The stream that it is about, or 0.
    pub stream: u32,
    /// What it has for its receiver.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Returns its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        frame(self.kind, self.flags, self.stream, &self.payload)
    }
}

/// Returns the bytes of a frame.
///
/// # Panics
/// Panics if the payload is too long for one.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    assert_eq!(length[0], 0, "a payload of {} bytes", payload.len());
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads a frame.
///
/// # Errors
/// Returns the error of the connection, also if it ends.
pub async fn read_frame(reading: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut head = [0; 9];
    reading.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    reading.read_exact(&mut payload).await?;
    Ok(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        payload,
    })
}
