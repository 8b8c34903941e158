//! Why the trail can't be written at all.

use std::io;

/// Why a broker with these settings can't begin its audit trail. The texts begin with the name of the setting.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The destination can't be opened, or isn't what it should be.
    #[error("audit-file: {0} can't be written: {1}")]
    Open(String, #[source] io::Error),
    /// There is no thread for the writer.
    #[error("audit: can't start a thread to write events: {0}")]
    Thread(#[source] io::Error),
}
