//! Files that hold a secret, such as a password. Every such file is read here, by the same rules.

use std::{fmt, fs::File, io, io::Read, os::unix::fs::PermissionsExt, path::Path};

use super::{Secret, SecretBytes};

/// No secret, key or certificate chain is larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// What is wrong with a file or variable that should hold a secret. Its text goes on after the name of a setting, and quotes
/// neither the path, which may be what the file should hold, nor what the file holds.
#[derive(Debug)]
pub enum SecretProblem {
    /// The file can't be opened or read.
    Unreadable(io::Error),
    /// There is no such file below the working directory, which a relative path counts from.
    NotHere,
    /// Others than its owner and its group may read it, or others than its owner may write it.
    Rights(u32),
    /// It is larger than any secret.
    TooLarge,
    /// It isn't UTF-8.
    NoText,
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// There is nothing in it, or nothing but blanks and line breaks.
    Empty,
    /// It has several lines.
    SeveralLines,
    /// It begins or ends with a blank.
    Blanks,
}

impl fmt::Display for SecretProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHere => {
                "no such file; a path that doesn't begin with / counts from the directory that the program was \
                 started in"
            }
            Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => "no such file",
            Self::Unreadable(error) => return write!(f, "the file can't be read: {error}"),
            Self::Rights(mode) => {
                return write!(
                    f,
                    "its rights are {mode:03o}: nobody but its owner may write it, and nobody but its owner and its group \
                     read it (chmod 600, or 440 where a group needs it)"
                );
            }
            Self::TooLarge => "it is larger than 1 MiB",
            Self::NoText => "it is not UTF-8",
            Self::ByteOrderMark => "it begins with a byte order mark: save it without one",
            Self::Empty => "it is empty",
            Self::SeveralLines => "it has several lines; it must hold the secret and nothing else",
            Self::Blanks => {
                "it begins or ends with a blank; it must hold the secret and nothing else"
            }
        })
    }
}

impl std::error::Error for SecretProblem {}

/// Reads a whole file that may hold a secret.
///
/// # Errors
/// Returns [`SecretProblem::Unreadable`], [`SecretProblem::NotHere`] or [`SecretProblem::TooLarge`].
pub fn read_whole(path: &Path) -> Result<SecretBytes, SecretProblem> {
    read_file(open(path)?)
}

/// Reads a whole file that holds keys. Nobody but its owner may write it, and nobody but its owner and group may read it.
///
/// # Errors
/// Returns the errors of [`read_whole`], and [`SecretProblem::Rights`].
pub fn read_private(path: &Path) -> Result<SecretBytes, SecretProblem> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(SecretProblem::Unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    // A pipe has no rights that matter.
    if metadata.is_file() && mode & 0o027 != 0 {
        return Err(SecretProblem::Rights(mode));
    }
    read_file(file)
}

fn open(path: &Path) -> Result<File, SecretProblem> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if path.is_relative() => SecretProblem::NotHere,
        _ => SecretProblem::Unreadable(error),
    })
}

fn read_file(file: File) -> Result<SecretBytes, SecretProblem> {
    let size = file.metadata().map_err(SecretProblem::Unreadable)?.len();
    // With room for everything from the start: a buffer that grows would leave a copy behind.
    let room = usize::try_from(size.min(LARGEST)).unwrap_or_default() + 1;
    let mut bytes = SecretBytes::new(Vec::with_capacity(room));
    // A device has no size, and no end.
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(SecretProblem::Unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(SecretProblem::TooLarge);
    }
    Ok(bytes)
}

/// Returns the secret that a file or variable holds: its one line, without the line break at its end.
///
/// # Errors
/// Returns what is wrong with the bytes.
pub fn one_line(bytes: &[u8]) -> Result<Secret, SecretProblem> {
    let text = str::from_utf8(bytes).map_err(|_| SecretProblem::NoText)?;
    if text.starts_with('\u{feff}') {
        return Err(SecretProblem::ByteOrderMark);
    }
    if text.trim().is_empty() {
        return Err(SecretProblem::Empty);
    }
    let line = text.trim_end_matches(['\r', '\n']);
    // The server would say only that the secret is wrong.
    if line.contains(['\r', '\n']) {
        return Err(SecretProblem::SeveralLines);
    }
    if line.trim() != line {
        return Err(SecretProblem::Blanks);
    }
    Secret::new(line.to_owned()).ok_or(SecretProblem::Empty)
}

/// Reads a file that holds one secret.
///
/// # Errors
/// Returns what is wrong with the file.
pub fn read_secret(path: &Path) -> Result<Secret, SecretProblem> {
    one_line(&read_whole(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_and_nothing_else() {
        for right in ["s", "s\n", "s\r\n", "s\n\n", "a b", "é:"] {
            let secret = one_line(right.as_bytes()).unwrap();
            assert_eq!(secret.expose(), right.trim_end());
        }
        for (wrong, told) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b" \t\r\n", "empty"),
            (b"hunter2\nhunter2", "several lines"),
            (b"hunter2\rhunter2\n", "several lines"),
            (b"\nhunter2", "several lines"),
            (b" hunter2", "blank"),
            (b"hunter2 \n", "blank"),
            (b"hunter2\t", "blank"),
            ("\u{feff}hunter2".as_bytes(), "byte order mark"),
            (b"hunter2\xff", "UTF-8"),
        ] {
            let found = one_line(wrong).unwrap_err().to_string();
            assert!(
                found.contains(told) && !found.contains("hunter2"),
                "{found}"
            );
        }
    }

    #[test]
    fn a_path_is_never_quoted() {
        for path in ["/no/such/hunter2", "/"] {
            let found = read_secret(Path::new(path)).unwrap_err().to_string();
            assert!(!found.contains("hunter2"), "{found}");
        }
        let endless = read_secret(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(endless, SecretProblem::TooLarge), "{endless}");
    }
}
