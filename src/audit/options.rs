//! What an operator decides about the trail.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::Names;
use crate::types::{SecretBytes, read_private_secret};

/// How events are written.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// What happens when events can't be written.
    pub duty: Duty,
    /// Where they go. Each destination has a chain of its own.
    pub destinations: Vec<Destination>,
    /// Makes the names of rows, sessions and users.
    pub names: Arc<Names>,
    /// Whether an event counts as written only when the disk has it.
    pub sync: bool,
    /// How long an answer waits for its event to be written.
    pub patience: Duration,
    /// How many calls may be in flight and events may wait.
    pub places: usize,
}

/// What happens when events can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Calls go on. Events that can't wait any longer are lost, and counted.
    BestEffort,
    /// Calls are refused. No answer leaves before its event is written.
    Required,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file, which is the broker's alone.
    File {
        /// Its path.
        path: PathBuf,
        /// When the broker itself begins another file. `None`: never, other software may.
        rotation: Option<Rotation>,
    },
    /// The standard output.
    Stdout,
}

/// When a file is full, and how many full ones are kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The size from which on a file is full, in bytes.
    pub size: u64,
    /// How many full files are kept. Older ones are deleted.
    pub keep: u32,
}

/// What is wrong with an audit key. The text goes on after the name of a setting, and quotes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// It isn't base64.
    NoBase64,
    /// It is too short.
    TooShort,
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBase64 => {
                "the file must hold one line of base64; `openssl rand -base64 32` makes a key"
            }
            Self::TooShort => {
                "the key must have at least 32 bytes; `openssl rand -base64 32` makes one"
            }
        })
    }
}

impl std::error::Error for KeyProblem {}

impl Names {
    /// Reads the key from a file, whose rights have to be those of [`read_private_secret`].
    ///
    /// # Errors
    /// Returns what is wrong with the file or the key.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let key = read_private_secret(path).map_err(|wrong| {
            format!("{wrong}; it must be the path of a file that holds the key in base64")
        })?;
        Self::from_base64(key.expose()).map_err(|wrong| wrong.to_string())
    }

    /// Makes names under the key that stands, in base64, in a text.
    ///
    /// # Errors
    /// Returns what is wrong with the key.
    pub fn from_base64(key: &str) -> Result<Self, KeyProblem> {
        let key = SecretBytes::from_base64(key).ok_or(KeyProblem::NoBase64)?;
        if key.len() < Self::SHORTEST_KEY {
            return Err(KeyProblem::TooShort);
        }
        Ok(Self::new(&key))
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn a_key_has_32_bytes_of_base64() {
        assert!(Names::from_base64(&STANDARD.encode([1; 32])).is_ok());
        let short = Names::from_base64(&STANDARD.encode([1; 31]));
        assert_eq!(short.unwrap_err(), KeyProblem::TooShort);
        let text = Names::from_base64("correct horse battery staple correct horse");
        assert_eq!(text.unwrap_err(), KeyProblem::NoBase64);
    }
}
