//! What was read from a connection. Nothing is kept of it but what HTTP/2 may be given next.

use super::{super::frames::Frames, allowance::Allowance, silence::Silence};

/// The bytes that have come over a connection.
#[derive(Default)]
pub(super) struct Incoming {
    /// The frames that they are.
    pub frames: Frames,
    /// How many more of them may be read.
    pub allowance: Allowance,
    /// How many bytes were read since the connection's last turn.
    pub at_once: usize,
    pub silence: Silence,
}

impl Incoming {
    /// Takes note of what was read.
    pub fn note(&mut self, read: &[u8]) {
        let (ended, opened) = (self.frames.ended(), self.frames.opened());
        self.frames.read(read);
        let calls = self.frames.opened() - opened;
        let frames = self.frames.ended() - ended;
        self.allowance.note_read(frames, read.len(), calls);
        self.at_once += read.len();
        self.silence.end();
    }
}
