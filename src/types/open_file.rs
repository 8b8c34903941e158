//! Opening files. What somebody put in a file's place holds up nobody.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

/// Opens a file for reading. All files that are read again while the broker runs are opened here.
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
