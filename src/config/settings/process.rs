//! How the process logs.

use tracing::Level;

use crate::config::syntax::choice;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

settings! {
    /// How to log.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LogSettings in "Process" {
        /// How log lines look: `text` or `json`
        log_format: Option<LogFormat> =
            choice("FORMAT", &FORMATS).optional().otherwise("text on a terminal, json elsewhere");
        /// What is logged: `error`, `warn`, `info`, `debug` (a line a call) or `trace`
        log_level: Level = choice("LEVEL", &LEVELS).default("info");
    }
}
