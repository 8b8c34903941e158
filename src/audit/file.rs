//! A file of lines: one writer, rotation, and reopening when other software has moved it away.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Rotation,
    figures::{Figures, count},
    sink::{Partial, Sink, write_all},
    tail::Tail,
};
use crate::types::{FileId, folder_of, open_file};

/// How long a rotation that failed isn't tried again.
const PAUSE: Duration = Duration::from_secs(60);

/// A file that this process alone writes. It is locked, so that no other broker does.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    rotation: Option<Rotation>,
    /// Whether the disk must have the names of files, too.
    sync: bool,
    figures: Arc<Figures>,
    file: File,
    /// Which file it is.
    id: FileId,
    /// Whether it is one, and not a device that the operator chose.
    is_file: bool,
    /// When a rotation may be tried again.
    not_before: Option<Instant>,
}

impl FileSink {
    /// Opens the file or creates it, and returns how the lines end that are to be continued. Those are the lines of the last
    /// full file if the process ended between two files.
    ///
    /// # Errors
    /// Returns the system's error, or says that another process writes the file or that it holds something else.
    pub fn open(
        path: PathBuf,
        rotation: Option<Rotation>,
        sync: bool,
        figures: Arc<Figures>,
    ) -> io::Result<(Self, Tail)> {
        let (file, id, mut tail) = open(&path)?;
        if tail == Tail::default()
            && let Ok(mut full) = open_file(&numbered(&path, 1))
            && let Ok(Tail { chain, .. }) = Tail::of(&mut full)
        {
            tail.chain = chain;
        }
        let is_file = file.metadata()?.is_file();
        let sink = Self {
            is_file,
            path,
            rotation,
            sync,
            figures,
            file,
            id,
            not_before: None,
        };
        sink.sync_names()?;
        Ok((sink, tail))
    }

    fn reopen(&mut self) -> io::Result<Tail> {
        let (file, id, tail) = open(&self.path)?;
        // Whoever puts a pipe or a device in its place would have the events, and no file would.
        if self.is_file && !file.metadata()?.is_file() {
            let why = "it was a file, and is none any more";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        (self.file, self.id) = (file, id);
        self.sync_names()?;
        count(&self.figures.rotations);
        Ok(tail)
    }

    /// Goes on in the file that has the name now. Tells of the one before if it has no name any more: whoever deleted it has taken
    /// lines away, and whoever renames it hasn't.
    fn replace(&mut self) -> io::Result<Tail> {
        let is_deleted = self.is_file && self.file.metadata()?.nlink() == 0;
        let tail = self.reopen()?;
        if is_deleted {
            count(&self.figures.failures);
            tracing::error!(
                file = %self.path.display(),
                "audit: the file was deleted while it was written: its lines are gone, and another file goes on"
            );
        }
        Ok(tail)
    }

    /// Makes room for an empty file: gives each full one the next number, and deletes the oldest.
    fn shift(&self, keep: u32) -> io::Result<()> {
        for number in (1..keep).rev() {
            let moved = fs::rename(
                numbered(&self.path, number),
                numbered(&self.path, number + 1),
            );
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }

    fn rotate(&mut self, keep: u32) -> io::Result<Option<Tail>> {
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return Ok(None);
        }
        if self.sync {
            self.file.sync_all()?;
        }
        if let Err(error) = self.shift(keep) {
            tracing::warn!(
                file = %self.path.display(), %error,
                "audit: the file is full and can't be renamed, so it grows"
            );
            self.not_before = Some(Instant::now() + PAUSE);
            return Ok(None);
        }
        self.not_before = None;
        self.reopen().map(Some)
    }

    /// Waits until the disk has the names in the folder.
    fn sync_names(&self) -> io::Result<()> {
        if !self.sync {
            return Ok(());
        }
        File::open(folder_of(&self.path))?.sync_all()
    }
}

impl Sink for FileSink {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn ready(&mut self) -> io::Result<Option<Tail>> {
        // Whether or not somebody asked: lines in a file that has another name, or none, are lost to who reads this one.
        match fs::metadata(&self.path) {
            Ok(there) if FileId::of(&there) == self.id => match self.rotation {
                Some(Rotation { size, keep }) if there.is_file() && there.len() >= size => {
                    self.rotate(keep)
                }
                _ => Ok(None),
            },
            Ok(_) => self.replace().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.replace().map(Some),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Partial> {
        write_all(&mut self.file, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.file.sync_data() {
            // A device has no disk behind it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

/// Opens a file to append to it, and locks it. Only its owner may read a new one.
fn open(path: &Path) -> io::Result<(File, FileId, Tail)> {
    let mut options = OpenOptions::new();
    let options = options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(path)?;
    let opened = file.metadata()?;
    if !opened.is_file() {
        return Ok((file, FileId::of(&opened), Tail::default()));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let why = "another process writes it; each broker needs a file of its own";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let tail = Tail::of(&mut file)?;
    Ok((file, FileId::of(&opened), tail))
}

/// Returns the path of the full file with this number. 1 is the youngest.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}
