//! The process itself.

use std::{
    fmt, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Collector, Families};
use crate::meter::PANICS;

/// The process: when it began, its version, its faults, its memory.
#[derive(Debug)]
pub struct Process {
    began: SystemTime,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            began: SystemTime::now(),
        }
    }
}

impl Collector for Process {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let version = [([("version", env!("CARGO_PKG_VERSION").to_owned())], 1)];
        families.gauges("build_info", "1, with the version of the program", version)?;
        families.counters(
            "panics",
            "Faults of the broker that ended a call, a connection, or work in the background",
            [([], PANICS.get())],
        )?;
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        families.of_process(
            "process_start_time_seconds",
            "When the broker was assembled, in seconds since 1970",
            began.as_secs_f64(),
        )?;
        if let Some(bytes) = resident() {
            families.of_process(
                "process_resident_memory_bytes",
                "The memory that the process takes",
                bytes,
            )?;
        }
        if let Some(open) = descriptors() {
            families.of_process("process_open_fds", "File descriptors that are open", open)?;
        }
        Ok(())
    }
}

/// Returns the resident memory in bytes, where the system tells it.
fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}

/// Returns how many file descriptors are open, where the system tells it.
fn descriptors() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them reads the folder.
    u32::try_from(open.saturating_sub(1)).ok().map(f64::from)
}
