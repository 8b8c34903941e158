//! Which file something is, and which folder it is in.

use std::{fs::Metadata, os::unix::fs::MetadataExt, path::Path};

/// Tells a file from others, whatever its names are: its device, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    /// Returns which file this is of.
    pub fn of(file: &Metadata) -> Self {
        Self(file.dev(), file.ino())
    }
}

/// Returns the folder that the last name of a path is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}
