//! The calls that HTTP/2 refuses by itself, of which no service ever hears: their headers are too long or say nothing that can
//! be understood, there are too many of them at once, or the connection is ending.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::socket::Outbox;
use crate::rpc::admission::Share;

/// Counts the calls of a connection that a service has heard of. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Begun(Arc<AtomicU64>);

/// Finds the calls of a connection that HTTP/2 has refused.
pub(super) struct Refused {
    begun: Begun,
    share: Arc<Share>,
    noted: u64,
}

impl Begun {
    /// Takes note that a service hears of a call.
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what finds the other calls of the connection with this `share`.
    pub fn refused(self, share: Arc<Share>) -> Refused {
        Refused {
            begun: self,
            share,
            noted: 0,
        }
    }
}

impl Refused {
    /// Takes note of those that were refused since the last time. This has to be called after HTTP/2 has done what it could, in
    /// the same task.
    pub fn note(&mut self, outbox: &Outbox) {
        if outbox.is_looked_at() {
            self.note_all(outbox);
        }
    }

    /// Takes note of all that were refused, when the connection has ended.
    pub fn note_all(&mut self, outbox: &Outbox) {
        let opened = outbox.opened();
        let begun = self.begun.0.load(Ordering::Relaxed);
        while opened.saturating_sub(begun) > self.noted {
            self.noted += 1;
            self.share.note_refused(None);
        }
    }
}
