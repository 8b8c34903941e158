//! Files that hold a secret, such as a password. Every such file is read here, by the same rules.

use std::{fmt, fs::File, io, os::unix::fs::PermissionsExt, path::Path};

use super::{NotRead, Secret, SecretBytes, open_file, open_file::read_open};

/// No secret, key or certificate chain is larger, in MiB.
const LARGEST: u64 = 1;

/// What a private file must not allow: writing to its group, and anything to everybody else. Its group may read it, because
/// that is how Kubernetes gives a file to a process that isn't root (`fsGroup`).
const OPEN_TO_OTHERS: u32 = 0o027;

/// What is wrong with a file or variable that should hold a secret. Its text goes on after the name of a setting, and quotes
/// neither the path, which may be what the file should hold, nor what the file holds.
#[derive(Debug)]
pub enum SecretProblem {
    /// The file can't be opened or read.
    Unreadable(io::Error),
    /// There is no such file below the working directory, which a relative path counts from.
    NotHere,
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
    /// Its rights, which these are, let others than its owner and its group at it, or its group write it.
    OpenToOthers(u32),
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
            Self::TooLarge => "it is larger than 1 MiB",
            Self::NoText => "it is not UTF-8",
            Self::ByteOrderMark => "it begins with a byte order mark: save it without one",
            Self::Empty => "it is empty",
            Self::SeveralLines => "it has several lines; it must hold the secret and nothing else",
            Self::Blanks => {
                "it begins or ends with a blank; it must hold the secret and nothing else"
            }
            Self::OpenToOthers(mode) => {
                return write!(
                    f,
                    "its rights are {mode:04o}, and only its owner may write it and only its owner and group may read it: \
                     set 0400 or 0440 (in Kubernetes defaultMode: 0440 of the volume, and fsGroup)"
                );
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
    whole(open(path)?)
}

/// Reads a whole file that holds a key of the broker's own, if nobody but its owner may write it and nobody but its owner and its
/// group may read it. The rights are those of the file that is read, wherever links lead meanwhile.
///
/// # Errors
/// Returns [`SecretProblem::OpenToOthers`], or what [`read_whole`] returns.
pub fn read_private(path: &Path) -> Result<SecretBytes, SecretProblem> {
    let file = open(path)?;
    let rights = file.metadata().map_err(SecretProblem::Unreadable)?;
    let mode = rights.permissions().mode() & 0o7777;
    // To read a folder is an error that says so.
    if mode & OPEN_TO_OTHERS != 0 && !rights.is_dir() {
        return Err(SecretProblem::OpenToOthers(mode));
    }
    whole(file)
}

fn open(path: &Path) -> Result<File, SecretProblem> {
    open_file(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if path.is_relative() => SecretProblem::NotHere,
        _ => SecretProblem::Unreadable(error),
    })
}

fn whole(file: File) -> Result<SecretBytes, SecretProblem> {
    read_open(file, LARGEST).map_err(|not_read| match not_read {
        NotRead::Unreadable(error) => SecretProblem::Unreadable(error),
        NotRead::TooLarge(_) => SecretProblem::TooLarge,
    })
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

/// Reads a file that holds one secret, if its rights are those of [`read_private`].
///
/// # Errors
/// Returns what is wrong with the file.
pub fn read_private_secret(path: &Path) -> Result<Secret, SecretProblem> {
    one_line(&read_private(path)?)
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
    fn a_private_file_is_for_its_owner_and_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        for (mode, is_private) in [
            (0o400, true),
            (0o600, true),
            (0o440, true),
            (0o640, true),
            (0o660, false),
            (0o644, false),
            (0o444, false),
            (0o602, false),
            (0o601, false),
        ] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let read = read_private(&path);
            assert_eq!(read.is_ok(), is_private, "{mode:o}: {read:?}");
        }
        let told = read_private(&path).unwrap_err().to_string();
        assert!(told.contains("0601") && told.contains("fsGroup"), "{told}");
        // Whatever its rights are.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let told = read_private(dir.path()).unwrap_err().to_string();
        assert!(told.contains("directory"), "{told}");
    }

    #[test]
    fn a_path_is_never_quoted() {
        for path in ["/no/such/hunter2", "/"] {
            let found = read_secret(Path::new(path)).unwrap_err().to_string();
            assert!(!found.contains("hunter2"), "{found}");
        }
        let device = read_secret(Path::new("/dev/zero")).unwrap_err();
        assert!(device.to_string().contains("must be a file"), "{device}");
    }

    #[test]
    fn what_is_larger_than_any_secret_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        std::fs::File::create(&path)
            .unwrap()
            .set_len((LARGEST << 20) + 1)
            .unwrap();
        let large = read_whole(&path).unwrap_err();
        assert!(matches!(large, SecretProblem::TooLarge), "{large}");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(LARGEST << 20)
            .unwrap();
        assert_eq!(read_whole(&path).unwrap().len() as u64, LARGEST << 20);
    }
}
