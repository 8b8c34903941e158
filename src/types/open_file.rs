//! Opening and reading files. What somebody put in a file's place holds up nobody, and fills no memory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use super::SecretBytes;

/// Why a file wasn't read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// It can't be opened or read.
    #[error("the file can't be read: {0}")]
    Unreadable(io::Error),
    /// It is larger than so many MiB.
    #[error("the file is larger than {0} MiB")]
    TooLarge(u64),
}

impl From<io::Error> for NotRead {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Reads a whole file of at most so many MiB. It may hold secrets. All files that an operator names are read here or by
/// [`read_once`], but for those of the audit trail, which may be of any size.
///
/// # Errors
/// Returns [`NotRead`], as [`open_file`] does.
pub fn read_file(path: &Path, at_most_mib: u64) -> Result<SecretBytes, NotRead> {
    read_open(open_file(path)?, at_most_mib)
}

/// Reads like [`read_file`] what is read only once, and so may be a pipe as well: `--config <(...)` keeps a configuration off the
/// disk. It waits for whoever writes to the pipe.
///
/// # Errors
/// Returns [`NotRead`].
pub fn read_once(path: &Path, at_most_mib: u64) -> Result<SecretBytes, NotRead> {
    read_open(File::open(path)?, at_most_mib)
}

/// Reads a file that was opened.
///
/// # Errors
/// Returns [`NotRead`].
pub(super) fn read_open(file: File, at_most_mib: u64) -> Result<SecretBytes, NotRead> {
    let largest = at_most_mib << 20;
    let size = file.metadata()?.len();
    // With room for everything from the start: a buffer that grows would leave a copy behind.
    let room = usize::try_from(size.min(largest)).unwrap_or_default() + 1;
    let mut bytes = Vec::with_capacity(room);
    // It may have grown meanwhile.
    let read = file.take(largest + 1).read_to_end(&mut bytes);
    let bytes = SecretBytes::new(bytes);
    read?;
    match bytes.len() as u64 > largest {
        true => Err(NotRead::TooLarge(at_most_mib)),
        false => Ok(bytes),
    }
}

/// Opens a file for reading. All files that an operator names are opened here.
///
/// It doesn't wait, whatever is in the file's place: to open a pipe would wait for somebody who writes to it, which may be for
/// ever, and so would reading it. A disk that doesn't answer is another matter: see [`Reading`](crate::reading::Reading).
///
/// # Errors
/// Returns the system's error, or [`io::ErrorKind::InvalidInput`] if it is a pipe, a socket or a device.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| {
        // What the system says of a socket, which can't be opened at all.
        match error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) {
            true => no_file(),
            false => error,
        }
    })?;
    let kind = file.metadata()?.file_type();
    // To read a folder is an error that says so.
    match kind.is_file() || kind.is_dir() {
        true => Ok(file),
        false => Err(no_file()),
    }
}

fn no_file() -> io::Error {
    let what = "it is a pipe, a socket or a device, and must be a file";
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read, os::unix::net::UnixListener, path::PathBuf, process::Command, sync::mpsc, thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn no_more_is_read_than_a_file_may_have() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        assert_eq!(read_file(&path, 1).unwrap().len(), 1 << 20);
        // It would be a terabyte of zeros.
        for size in [(1 << 20) + 1, 1 << 40] {
            file.set_len(size).unwrap();
            let told = read_file(&path, 1).unwrap_err();
            assert!(matches!(told, NotRead::TooLarge(1)), "{told}");
        }
        let told = read_file(dir.path(), 1).unwrap_err().to_string();
        assert!(told.contains("directory"), "{told}");
    }

    /// Whoever opens a pipe as usual waits for a writer: then this doesn't return.
    #[test]
    fn nothing_but_a_file_is_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let [pipe, socket, file, link] =
            ["pipe", "socket", "file", "link"].map(|name| dir.path().join(name));
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let _listener = UnixListener::bind(&socket).unwrap();
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let others = [pipe, socket, PathBuf::from("/dev/zero"), "/dev/tty".into()];
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let kinds = others.map(|path| open_file(&path).unwrap_err().to_string());
            done.send(kinds).unwrap();
        });
        let told = is_done.recv_timeout(Duration::from_secs(10)).unwrap();
        for told in told {
            assert!(
                told.contains("must be a file") || told.contains("tty"),
                "{told}"
            );
        }
        let mut text = String::new();
        open_file(&link).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        let missing = open_file(&dir.path().join("no")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
