//! The settings of the process: its log and its memory.

use tracing::Level;

use crate::config::syntax::choice;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for a person to read.
    Text,
    /// One JSON object per line.
    Json,
}

/// Whether memory is kept out of swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLock {
    /// It isn't.
    Off,
    /// It is, if the system allows it.
    Try,
    /// It is, or the broker doesn't start.
    Required,
}

const LOCKS: [(&str, MemoryLock); 3] = [
    ("off", MemoryLock::Off),
    ("try", MemoryLock::Try),
    ("required", MemoryLock::Required),
];

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

settings! {
    /// The settings of the log.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LogSettings in "Process" {
        /// Format of log lines: `text` or `json`
        log_format: Option<LogFormat> =
            choice("FORMAT", &FORMATS).optional().otherwise("text on a terminal, json elsewhere");
        /// What is logged: `error`, `warn`, `info`, `debug` (one line per call) or `trace`
        log_level: Level = choice("LEVEL", &LEVELS).default("info");
    }
}

settings! {
    /// The settings of the process's memory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::config) struct MemorySettings {
        /// Keep memory out of swap: `off`, `try` (if the process may lock all of it) or `required` (or
        /// else don't start)
        memory_lock: MemoryLock = choice("WHETHER", &LOCKS).default("try");
    }
}
