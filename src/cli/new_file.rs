//! New files with secrets.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with},
    io::Errno,
};

use crate::types::folder_of;

/// Writes a new file that only its owner may read, and has it on disk when this returns. A file that exists isn't changed.
///
/// The file appears when it is whole: if the disk is full, or the process is killed, there is none, and nothing is left of it.
/// Where the file system knows no files without a name, something may be left under another name if the process is killed.
///
/// # Errors
/// Returns the system's error. [`io::ErrorKind::AlreadyExists`] means that there is such a file. After any other error there is
/// none.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    if !write_nameless(path, bytes)? {
        let unfinished = Unfinished::beside(path)?;
        unfinished.write(bytes)?;
        unfinished.appear_as(path)?;
    }
    let synced = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    // Nobody is told of a key that may be gone after a crash.
    synced.inspect_err(|_| drop(fs::remove_file(path)))
}

/// Gives a file its mode, which the process's umask may have cut.
fn only_for_its_owner(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Writes a file that has no name, and gives it one when it is whole: the system frees it if the process ends before. Returns
/// whether the system can do that.
fn write_nameless(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = match openat(CWD, folder_of(path), flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => File::from(file),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    only_for_its_owner(&file)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Err(io::ErrorKind::AlreadyExists.into()),
        // Without /proc it can't be named.
        Err(_) => Ok(false),
    }
}

/// A file that has no name of its own yet. It is removed when this is dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut unfinished = std::ffi::OsString::from(".");
        unfinished.push(name);
        unfinished.push(format!(".{:016x}", rand::random::<u64>()));
        Ok(Self(path.with_file_name(unfinished)))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&self.0)?;
        only_for_its_owner(&file)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Gives the file its name, unless another one has it by now.
    fn appear_as(self, path: &Path) -> io::Result<()> {
        match renameat_with(CWD, &self.0, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // Not every file system can do this. There was no such file a moment ago.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(&self.0, path)?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // If it has its own name, there is nothing under this one.
        drop(fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let all = fs::read_dir(dir).unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_new_file_is_whole_and_no_other_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        write_new(&path, b"text").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = write_new(&path, b"other").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        // Where a link leads isn't written either.
        let link = dir.path().join("link");
        symlink(dir.path().join("nowhere"), &link).unwrap();
        let linked = write_new(&link, b"other").unwrap_err();
        assert_eq!(linked.kind(), io::ErrorKind::AlreadyExists);
        // A file that came meanwhile stays, too.
        let unfinished = Unfinished::beside(&path).unwrap();
        unfinished.write(b"other").unwrap();
        let late = unfinished.appear_as(&path).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"text");
        let mut left = names(dir.path());
        left.sort();
        assert_eq!(left, ["keys", "link"]);
    }
}
