//! Telling whether a file has changed.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// What tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Reads a file, and returns the stamp that it had just before: if it changes while it is read, it differs from its stamp, and is
/// read again.
pub(super) fn stamped<T>(path: &Path, read: impl FnOnce() -> T) -> (Option<Stamp>, T) {
    let stamp = Stamp::at(path);
    (stamp, read())
}

impl Stamp {
    /// Returns the stamp of the file at `path`, if there is one.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|file| Self::of(&file))
    }

    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_while_it_is_read_is_told_from_its_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let (path, next) = (dir.path().join("keys"), dir.path().join("next"));
        fs::write(&path, "one").unwrap();
        let (stamp, text) = stamped(&path, || fs::read_to_string(&path).unwrap());
        assert_eq!((stamp, &*text), (Stamp::at(&path), "one"));
        // Another file, which is in its place before this one is read whole, and one that goes.
        let (stamp, text) = stamped(&path, || {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&next, "two").unwrap();
            fs::rename(&next, &path).unwrap();
            text
        });
        assert_eq!(text, "one");
        assert!(stamp != Stamp::at(&path), "the change is missed");
        let (stamp, ()) = stamped(&path, || fs::remove_file(&path).unwrap());
        assert!(stamp.is_some() && Stamp::at(&path).is_none());
    }
}
