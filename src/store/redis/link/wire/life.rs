//! What is known about a connection apart from its answers: whether it can be used, and whether anything comes.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The life of a connection. Its stream of bytes, its users and its watch share it.
#[derive(Debug, Default)]
pub struct Life {
    is_over: AtomicBool,
    over: Notify,
    heard: AtomicBool,
    is_doubtful: AtomicBool,
    is_silent: AtomicBool,
}

impl Life {
    /// Whether the connection has to be replaced: it ended, or its server can't be used.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Takes note that the connection has to be replaced.
    pub fn end(&self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            self.over.notify_one();
        }
    }

    /// Takes note that a request waited in vain for as long as an answer may take. If nothing else came either, the
    /// connection has to be replaced.
    pub fn waited_in_vain(&self) {
        if self.is_doubtful() {
            self.is_silent.store(true, Ordering::Relaxed);
            self.end();
        }
    }

    /// Whether the connection was replaced because nothing came.
    pub fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Waits until the connection has to be replaced. Only one task may wait.
    pub async fn over(&self) {
        while !self.is_over() {
            self.over.notified().await;
        }
    }

    /// Takes note that something came.
    pub fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Returns whether anything came since this was called last.
    pub fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    /// Whether the server hasn't answered for a while. Other connections are to be preferred.
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Relaxed)
    }

    /// Says whether the server hasn't answered for a while.
    pub fn doubt(&self, is_doubtful: bool) {
        self.is_doubtful.store(is_doubtful, Ordering::Relaxed);
    }
}
