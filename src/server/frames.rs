//! What a client of HTTP/2 sends, as far as calls are found in it. Nothing is kept of it but lengths and numbers.

use tokio::io::ReadBuf;

/// The first bytes of a connection, which are no frame.
const PREFACE: usize = 24;
/// The head of a frame: its length, kind, flags and stream.
const HEAD: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames of a connection, and counts the calls that they open.
#[derive(Debug)]
pub(super) struct Frames {
    part: Part,
    /// How many bytes of the part are still to come.
    left: usize,
    head: [u8; HEAD],
    /// Whether a call is open when the headers end that are under way.
    opens: bool,
    /// The last stream that was opened.
    last: u32,
    opened: u64,
    ended: u64,
}

/// The head of a frame, as far as it was read, until it is handed on.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: [u8; HEAD],
    /// How much of it was read, and how much of that was handed on.
    read: usize,
    given: usize,
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Preface,
    Head,
    Payload,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            part: Part::Preface,
            left: PREFACE,
            head: [0; HEAD],
            opens: false,
            last: 0,
            opened: 0,
            ended: 0,
        }
    }
}

impl Frames {
    /// Returns how many bytes may be read without going beyond the end of a call's headers.
    pub fn next(&self) -> usize {
        self.left
    }

    /// Returns whether the next bytes are those of a frame's head.
    pub fn is_in_head(&self) -> bool {
        self.part == Part::Head
    }

    /// Returns whether the frame whose head was read last has headers, with which calls begin.
    pub fn has_headers(&self) -> bool {
        self.head[3] == HEADERS
    }

    /// Returns how many calls have been opened. One counts when its headers are complete.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Returns how many frames have been read.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Takes note of the next bytes of the connection.
    pub fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
            if self.part == Part::Head {
                let begin = HEAD - self.left;
                self.head[begin..begin + part.len()].copy_from_slice(part);
            }
            self.left -= part.len();
            bytes = rest;
            if self.left == 0 {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        let [a, b, c, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        match self.part {
            Part::Head if length > 0 => (self.part, self.left) = (Part::Payload, length),
            part => {
                if part != Part::Preface {
                    self.end_frame();
                }
                (self.part, self.left) = (Part::Head, HEAD);
            }
        }
    }

    fn end_frame(&mut self) {
        self.ended += 1;
        let [_, _, _, kind, flags, stream @ ..] = self.head;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        match kind {
            // Headers on a stream that is open are the end of a request.
            HEADERS => self.opens = stream > self.last,
            CONTINUATION => {}
            _ => return,
        }
        self.last = self.last.max(stream);
        if flags & END_HEADERS != 0 {
            self.opened += u64::from(std::mem::take(&mut self.opens));
        }
    }
}

impl Head {
    /// Returns where what is missing is to be read to, or `None` if nothing is missing.
    pub fn rest(&mut self) -> Option<&mut [u8]> {
        (self.read < HEAD).then(|| &mut self.bytes[self.read..])
    }

    /// Takes note that so many bytes were read there.
    pub fn note(&mut self, read: usize) {
        self.read += read;
    }

    /// Whether nothing was read that wasn't handed on.
    pub fn is_empty(&self) -> bool {
        self.read == 0
    }

    /// Hands on what was read. Returns whether there was anything.
    pub fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.bytes[self.given..self.read];
        let given = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..given]);
        self.given += given;
        if self.given == self.read {
            (self.read, self.given) = (0, 0);
        }
        given > 0
    }
}

#[cfg(test)]
mod tests {
    use testkit::http2;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        http2::frame(kind, flags, stream, &vec![HEADERS; payload])
    }

    /// A connection with two calls: one with a message and the headers that end it, and one whose headers come in three frames.
    fn connection() -> Vec<u8> {
        let settings = [vec![b'x'; PREFACE], frame(4, 0, 0, 0)].concat();
        let first = [
            frame(HEADERS, END_HEADERS, 1, 30),
            frame(0, 0, 1, 100),
            frame(HEADERS, END_HEADERS, 1, 10),
        ];
        let second = [
            frame(HEADERS, 1, 3, 300),
            frame(CONTINUATION, 0, 3, 0),
            frame(CONTINUATION, END_HEADERS, 3, 20),
        ];
        [settings, first.concat(), second.concat()].concat()
    }

    #[test]
    fn each_call_counts_once_however_it_is_cut() {
        let sent = connection();
        for size in [1, 2, 7, 9, 10, 64, sent.len()] {
            let mut frames = Frames::default();
            sent.chunks(size).for_each(|chunk| frames.read(chunk));
            assert_eq!((frames.opened(), frames.ended()), (2, 7), "{size}");
        }
    }

    #[test]
    fn who_reads_no_more_than_the_next_part_gets_one_call_at_a_time() {
        let (sent, mut frames, mut at) = (connection(), Frames::default(), 0);
        let mut opened = Vec::new();
        while at < sent.len() {
            let end = at + frames.next();
            frames.read(&sent[at..end]);
            opened.push(frames.opened());
            at = end;
        }
        assert_eq!(at, sent.len());
        let steps = opened.windows(2).map(|two| two[1] - two[0]);
        assert_eq!(steps.max(), Some(1));
        assert_eq!(opened.last(), Some(&2));
    }
}
