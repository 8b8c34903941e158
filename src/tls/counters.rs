//! What happened to TLS since the start, for metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counters and states of TLS. Whoever exports metrics reads them.
#[derive(Debug, Default)]
pub struct TlsCounters {
    /// How often changed files were taken.
    pub reloads: AtomicU64,
    /// How often changed files were refused, and what was in force before was kept.
    pub failed_reloads: AtomicU64,
    /// Whether the files are refused now.
    pub is_refusing_files: AtomicBool,
    /// When the broker's certificate expires, in seconds since 1970.
    pub certificate_expires: AtomicU64,
    /// How many handshakes succeeded.
    pub handshakes: AtomicU64,
    /// How many handshakes failed.
    pub failed_handshakes: AtomicU64,
    /// How many connections ended because their client's certificate expired.
    pub expired: AtomicU64,
    /// How many connections ended because their client's certificate was good no longer after a reload.
    pub unverified: AtomicU64,
}

impl TlsCounters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}
