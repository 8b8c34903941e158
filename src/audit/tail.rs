//! The end of a file of lines, which another process may have written.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use serde::Deserialize;

use super::{Hash, chain::Chain};

/// No line is longer than this, in bytes.
pub(super) const LONGEST: u64 = 1 << 20;
/// How much of the end of a file is read.
const WINDOW: u64 = LONGEST;

/// The highest number that a line goes on from. No broker reaches it in a thousand years; but whoever can write the file can claim
/// any number, and there has to be a next one.
const LAST: u64 = 1 << 53;

/// How a file ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// The chain after the last whole line. `None`: there is no line.
    pub chain: Option<Chain>,
    /// What follows the last line break: the beginning of a line whose writer died.
    pub torn: Vec<u8>,
}

/// What every line has.
#[derive(Deserialize)]
struct Head {
    seq: u64,
}

impl Tail {
    /// Reads the end of a file.
    ///
    /// # Errors
    /// Returns the system's error, or one of the kind [`io::ErrorKind::InvalidData`] if the file holds something else.
    pub fn of(file: &mut File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let begin = size.saturating_sub(WINDOW);
        file.seek(SeekFrom::Start(begin))?;
        let mut end = Vec::new();
        file.take(WINDOW).read_to_end(&mut end)?;
        let other = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "it holds something else than audit events",
            )
        };
        let Some(break_at) = memchr::memrchr(b'\n', &end) else {
            return match begin {
                0 => Ok(Self {
                    chain: None,
                    torn: end,
                }),
                _ => Err(other()),
            };
        };
        let torn = end.split_off(break_at + 1);
        end.pop();
        let line = match memchr::memrchr(b'\n', &end) {
            Some(at) => &end[at + 1..],
            None if begin == 0 => &end[..],
            None => return Err(other()),
        };
        let Head { seq } = serde_json::from_slice(line).map_err(|_| other())?;
        if seq > LAST {
            return Err(other());
        }
        Ok(Self {
            chain: Some(Chain {
                seq,
                last: Hash::of(line),
            }),
            torn,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn tail(bytes: &[u8]) -> io::Result<Tail> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        Tail::of(&mut file)
    }

    #[test]
    fn the_last_whole_line_and_what_follows_it() {
        let line = br#"{"seq":7}"#;
        let chain = Some(Chain {
            seq: 7,
            last: Hash::of(line),
        });
        let whole = [line, &b"\n"[..]].concat();
        let torn = |torn: &[u8]| torn.to_vec();
        for (bytes, expected) in [
            (vec![], Tail::default()),
            (
                b"{\"se".to_vec(),
                Tail {
                    chain: None,
                    torn: torn(b"{\"se"),
                },
            ),
            (
                whole.clone(),
                Tail {
                    chain,
                    torn: vec![],
                },
            ),
            (
                [b"{\"seq\":6}\n", &whole[..], b"{\"s"].concat(),
                Tail {
                    chain,
                    torn: torn(b"{\"s"),
                },
            ),
        ] {
            assert_eq!(tail(&bytes).unwrap(), expected);
        }
    }

    #[test]
    fn another_file_is_left_alone() {
        for bytes in [
            b"root:x:0:0\n".to_vec(),
            vec![b'x'; 2 << 20],
            b"{}\n".to_vec(),
            b"{\"seq\":9007199254740993}\n".to_vec(),
            b"{\"seq\":18446744073709551615}\n".to_vec(),
        ] {
            let error = tail(&bytes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
