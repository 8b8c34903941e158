//! What is in the place of a file that a broker will write, or of its socket. Commands that don't serve need none of them.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{
    Config, Listen,
    problem::{Problem, Problems},
    settings::{AuditSettings, ListenSettings, Setting, all, of_a_provider},
    syntax::FILE,
    value::Form,
    written::Settings,
};
use crate::audit::{AuditOptions, vet};

/// Returns a problem for each place that would end the start of a broker, or where it would harm a file that another setting
/// names. Creates and changes nothing.
pub(super) fn unfit(written: &Settings, config: &Config) -> Vec<Problem> {
    let mut problems = Problems::default();
    if let Listen::Unix(path) = &config.listen.calls
        && let Err(error) = room_for_socket(path)
    {
        let message = format!("can't serve on this socket: {error}");
        problems.add(ListenSettings::listen, message);
    }
    if let Some(AuditOptions {
        destinations, sync, ..
    }) = &config.audit
    {
        let mut others = files(written);
        if let Listen::Unix(path) = &config.listen.calls {
            others.push((ListenSettings::listen, path.clone()));
        }
        for (at, wrong) in vet(destinations, *sync, &others) {
            let message = match destinations.len() {
                1 => wrong,
                _ => format!("entry {} {wrong}", at + 1),
            };
            problems.add(AuditSettings::audit_file, message);
        }
    }
    problems.take()
}

/// Returns the files that settings name, those of providers and tenants, too, but not those of the trail.
fn files(written: &Settings) -> Vec<(&'static str, PathBuf)> {
    let settings = all().iter().chain(of_a_provider());
    let mut files = Vec::new();
    for Setting { name, style, .. } in settings {
        if !style.value_name.ends_with(FILE) || *name == AuditSettings::audit_file {
            continue;
        }
        for text in written.get(name) {
            let path = match (style.form, text.split_once('=')) {
                (Form::Pairs, Some((_, path))) => path,
                _ => text,
            };
            files.push((*name, path.into()));
        }
    }
    let tables = written.tables().values().chain(written.tenants().values());
    files.extend(tables.flat_map(self::files));
    files
}

/// Checks whether a broker could make its socket at `path`.
fn room_for_socket(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let rights = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    // With `/.` at its end, the path of a file is an error.
    access(folder.join("."), rights)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let what = "there is a file that is no socket";
            Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
