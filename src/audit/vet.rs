//! A look at the destinations before a broker begins to write. It creates and changes nothing.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::FileTypeExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{Destination, tail::Tail};
use crate::types::{FileId, folder_of};

/// How many links may lead to a file, as in Linux.
const MOST_LINKS: usize = 40;

/// Returns what is wrong with the destinations: for each mistake the place of the destination in the list, and a text that goes on
/// after the name of the setting. `sync` is that of the options. `others` are files that aren't part of the trail, each with the
/// setting that names it: the trail must not write one, nor rename a full file over it.
///
/// What only a running system can tell isn't looked for, such as that another process writes a file.
#[must_use]
pub fn vet(
    destinations: &[Destination],
    sync: bool,
    others: &[(&str, PathBuf)],
) -> Vec<(usize, String)> {
    let others = others.iter().filter_map(|(setting, path)| {
        let target = Target::of_path(path).ok()?;
        Some(((*setting).to_owned(), target))
    });
    let mut known: Vec<_> = others.collect();
    let mut wrong = Vec::new();
    for (at, destination) in destinations.iter().enumerate() {
        let target = match Target::of(destination, sync) {
            Ok(target) => target,
            Err(error) => {
                wrong.push((at, format!("can't be written: {error}")));
                continue;
            }
        };
        let clash = known
            .iter()
            .find_map(|(what, other)| target.clash(other, what));
        wrong.extend(clash.map(|clash| (at, clash)));
        known.push((format!("entry {}", at + 1), target));
    }
    wrong
}

/// What a path leads to.
struct Target {
    /// The names on the way: that of the path, and of what each link leads to. The last one is no link.
    names: Vec<Name>,
    /// Which file it is, if there is one.
    id: Option<FileId>,
    /// Whether it is a file of the trail, beside which full files get its name and a number.
    is_rotated: bool,
}

/// A name in a folder, however the path to the folder is spelled.
#[derive(PartialEq, Eq)]
struct Name {
    folder: FileId,
    name: OsString,
}

impl Target {
    /// Finds out what a destination is, and whether it can be written.
    fn of(destination: &Destination, sync: bool) -> io::Result<Self> {
        match destination {
            Destination::Stdout => {
                let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
                Ok(Self {
                    names: Vec::new(),
                    id: Some(FileId::of(&File::from(descriptor).metadata()?)),
                    is_rotated: false,
                })
            }
            Destination::File { path, .. } => {
                writable(path)?;
                if sync {
                    // The disk is to have the names in it, too.
                    File::open(folder_of(path))?;
                }
                Ok(Self {
                    is_rotated: true,
                    ..Self::of_path(path)?
                })
            }
        }
    }

    fn of_path(path: &Path) -> io::Result<Self> {
        let mut names = Vec::new();
        for end in way(path)? {
            let folder = FileId::of(&fs::metadata(folder_of(&end))?);
            let name = end.file_name().unwrap_or_default().to_owned();
            names.push(Name { folder, name });
        }
        let id = fs::metadata(path).ok().as_ref().map(FileId::of);
        Ok(Self {
            names,
            id,
            is_rotated: false,
        })
    }

    /// Returns why both can't be used, if so. `what` names the other one.
    fn clash(&self, other: &Self, what: &str) -> Option<String> {
        if self.is(other) {
            return Some(format!("leads to the file of {what}, too"));
        }
        if other.renames_to(self) {
            return Some(format!(
                "has a name that full files of {what} get, and would be overwritten"
            ));
        }
        let overwrites = || {
            format!("gives its full files the name of the file of {what}, and would overwrite it")
        };
        self.renames_to(other).then(overwrites)
    }

    fn is(&self, other: &Self) -> bool {
        match (self.id, other.id) {
            (None, None) => self.names.last() == other.names.last(),
            (one, other) => one == other,
        }
    }

    /// Whether a full file gets a name on the way to `other`. How many are kept doesn't matter, nor whether other software renames
    /// them: in any case, an empty file goes on from what `NAME.1` holds.
    fn renames_to(&self, other: &Self) -> bool {
        let own = self.names.first();
        let is_full = |name: &Name| own.is_some_and(|own| name.is_of_full_file(own));
        self.is_rotated && other.names.iter().any(is_full)
    }
}

impl Name {
    /// Whether it is `NAME.N`, a name for full files of the destination called `NAME`.
    fn is_of_full_file(&self, destination: &Self) -> bool {
        let rest = self
            .name
            .as_bytes()
            .strip_prefix(destination.name.as_bytes());
        let number = rest.and_then(|rest| rest.strip_prefix(b"."));
        let is_number = |number: &[u8]| {
            number.first().is_some_and(|first| *first != b'0')
                && number.iter().all(u8::is_ascii_digit)
        };
        self.folder == destination.folder && number.is_some_and(is_number)
    }
}

/// Returns the path, and where each link that it leads through leads to.
fn way(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut way = vec![path.to_owned()];
    let mut end = path.to_owned();
    while let Ok(target) = fs::read_link(&end) {
        end = folder_of(&end).join(target);
        way.push(end.clone());
        if way.len() > MOST_LINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
    }
    Ok(way)
}

/// Checks whether a file could be opened to append to it, or created, and whether it holds events.
fn writable(path: &Path) -> io::Result<()> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return creatable(path),
        Err(error) => return Err(error),
    };
    let kind = found.file_type();
    if kind.is_dir() {
        return Err(unfit("it is a directory"));
    }
    if kind.is_socket() {
        return Err(unfit("it is a socket"));
    }
    if !kind.is_file() {
        // Whoever reads a pipe would notice that it is opened.
        return Ok(access(path, Access::READ_OK | Access::WRITE_OK)?);
    }
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    Tail::of(&mut file).map(drop)
}

/// Checks whether a file could be created where the path leads.
fn creatable(path: &Path) -> io::Result<()> {
    let way = way(path)?;
    let end = way.last().map_or(path, PathBuf::as_path);
    if end.as_os_str().as_bytes().ends_with(b"/") || end.file_name().is_none() {
        return Err(unfit("it is the name of a directory"));
    }
    Ok(access(folder_of(end), Access::WRITE_OK | Access::EXEC_OK)?)
}

fn unfit(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
