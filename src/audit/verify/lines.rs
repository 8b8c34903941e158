//! Reading a file line by line. What others put into it fills no memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use crate::{audit::tail::LONGEST, types::open_file};

/// The lines of a file.
pub(super) struct Lines {
    reader: BufReader<File>,
    bytes: Vec<u8>,
}

/// A line of a file.
pub(super) enum Found<'a> {
    /// A line, without its line break.
    Whole(&'a [u8]),
    /// What stands behind the last line break.
    Open(&'a [u8]),
    /// It is longer than any that the audit trail writes.
    TooLong,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// Returns the system's error, or says that it is no file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let reader = BufReader::new(open_file(path)?);
        let bytes = Vec::new();
        Ok(Self { reader, bytes })
    }

    /// Returns the next line. `None` at the end of the file.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        self.bytes.clear();
        let room = LONGEST + 1;
        let read = (&mut self.reader)
            .take(room)
            .read_until(b'\n', &mut self.bytes)?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(line) = self.bytes.strip_suffix(b"\n") {
            return Ok(Some(Found::Whole(line)));
        }
        if (read as u64) < room {
            return Ok(Some(Found::Open(&self.bytes)));
        }
        self.reader.skip_until(b'\n')?;
        Ok(Some(Found::TooLong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of zeros may be as large as the disk.
    #[test]
    fn a_line_that_is_too_long_is_skipped_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let longest = usize::try_from(LONGEST).unwrap();
        let rubbish = vec![0; 5 * longest];
        let just = vec![b'x'; longest];
        std::fs::write(
            &path,
            [&just[..], b"\n", &rubbish, b"\nline\n", &rubbish].concat(),
        )
        .unwrap();
        let mut lines = Lines::of(&path).unwrap();
        assert!(matches!(lines.next().unwrap(), Some(Found::Whole(line)) if line == just));
        assert!(matches!(lines.next().unwrap(), Some(Found::TooLong)));
        assert!(matches!(lines.next().unwrap(), Some(Found::Whole(b"line"))));
        assert!(matches!(lines.next().unwrap(), Some(Found::TooLong)));
        assert!(lines.next().unwrap().is_none());
        assert!(
            lines.bytes.capacity() <= 2 * (longest + 1),
            "{}",
            lines.bytes.capacity()
        );
    }
}
