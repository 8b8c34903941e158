//! The frames of HTTP/2 that a unary call needs: how they are written, and taken apart (RFC 9113).

/// What a client says first: the preface, its settings, and a window for the whole connection.
///
/// The windows are the largest there are, so that the server never waits for the client.
pub(super) fn hello() -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    head(&mut hello, 6, SETTINGS, 0, 0);
    hello.extend(INITIAL_WINDOW_SIZE.to_be_bytes());
    hello.extend(LARGEST_WINDOW.to_be_bytes());
    window_update(&mut hello, LARGEST_WINDOW - DEFAULT_WINDOW);
    hello
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(super) const DEFAULT_WINDOW: u32 = 65_535;
pub(super) const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// The bytes before the payload of a frame.
const HEAD: usize = 9;

/// A frame that was received whole.
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

/// Takes the first frame off `input`, if it is there whole.
pub(super) fn take<'a>(input: &mut &'a [u8]) -> Option<Frame<'a>> {
    let length = number(&[0, *input.first()?, *input.get(1)?, *input.get(2)?]) as usize;
    let payload = input.get(HEAD..HEAD + length)?;
    let frame = Frame {
        kind: input[3],
        flags: input[4],
        stream: number(&input[5..HEAD]) & LARGEST_WINDOW,
        payload,
    };
    *input = &input[HEAD + length..];
    Some(frame)
}

/// Returns the number in the first four bytes.
pub(super) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// Returns the pairs of a frame of settings.
pub(super) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    let pairs = payload.chunks_exact(6);
    pairs.map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), number(&pair[2..])))
}

pub(super) fn window_update(output: &mut Vec<u8>, more: u32) {
    head(output, 4, WINDOW_UPDATE, 0, 0);
    output.extend(more.to_be_bytes());
}

pub(super) fn settings_ack(output: &mut Vec<u8>) {
    head(output, 0, SETTINGS, ACK, 0);
}

pub(super) fn pong(output: &mut Vec<u8>, payload: &[u8]) {
    head(output, payload.len(), PING, ACK, 0);
    output.extend(payload);
}

/// Writes a whole call: its headers, and its message with gRPC's five bytes before it.
pub(super) fn call(output: &mut Vec<u8>, stream: u32, headers: &[u8], message: &[u8]) {
    head(output, headers.len(), HEADERS, END_HEADERS, stream);
    output.extend(headers);
    head(output, PREFIX + message.len(), DATA, END_STREAM, stream);
    output.push(0);
    output.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    output.extend(message);
}

/// The bytes that gRPC puts before a message.
pub(super) const PREFIX: usize = 5;

fn head(output: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    output.extend(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
    output.extend([kind, flags]);
    output.extend(stream.to_be_bytes());
}
