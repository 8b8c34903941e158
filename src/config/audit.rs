//! Turns the settings of the audit trail into its options.

use std::{path::Path, sync::Arc};

use super::{problem::Problems, settings::AuditSettings, written::Settings};
use crate::audit::{AuditOptions, Destination, Names, Rotation};

/// How many events may wait beyond those of the calls in flight: those of calls that were refused or have just ended.
const SPARE_PLACES: usize = 1024;

/// The settings that have no effect without a trail.
const OTHERS: [&str; 6] = [
    AuditSettings::audit_file,
    AuditSettings::audit_key_file,
    AuditSettings::audit_sync,
    AuditSettings::audit_file_size,
    AuditSettings::audit_file_keep,
    AuditSettings::audit_timeout,
];

/// Returns the options of the trail, if there is to be one.
pub(super) fn options(
    written: &Settings,
    read: AuditSettings,
    max_calls: usize,
    problems: &mut Problems,
) -> Option<AuditOptions> {
    let name = AuditSettings::audit;
    let Some(duty) = read.audit else {
        for other in OTHERS.iter().filter(|other| written.is_set(other)) {
            problems.add_together(other, &[name], format!("has no effect: {name} is off"));
        }
        return None;
    };
    let file = AuditSettings::audit_file;
    if read.audit_file.is_empty() {
        problems.add_together(
            file,
            &[name],
            format!("must be set, because {name} is; - is the standard output"),
        );
    }
    let rotation = Rotation {
        size: read.audit_file_size,
        keep: read.audit_file_keep,
    };
    let rotation = (rotation.size > 0).then_some(rotation);
    let destinations = read
        .audit_file
        .into_iter()
        .map(|path| match path.as_os_str() == "-" {
            true => Destination::Stdout,
            false => Destination::File { path, rotation },
        });
    let destinations: Vec<_> = destinations.collect();
    without_file(written, &destinations, rotation, problems);
    Some(AuditOptions {
        duty,
        destinations,
        names: Arc::new(names(read.audit_key_file.as_deref(), problems)?),
        sync: read.audit_sync,
        patience: read.audit_timeout,
        places: max_calls.saturating_mul(2).saturating_add(SPARE_PLACES),
    })
}

/// Adds a problem for each setting that is about files, if there is none, or none that the broker renames.
fn without_file(
    written: &Settings,
    destinations: &[Destination],
    rotation: Option<Rotation>,
    problems: &mut Problems,
) {
    let (file, size) = (AuditSettings::audit_file, AuditSettings::audit_file_size);
    let keep = AuditSettings::audit_file_keep;
    let of_files = [AuditSettings::audit_sync, size, keep];
    if !destinations.is_empty() && destinations.iter().all(|to| *to == Destination::Stdout) {
        for name in of_files.iter().filter(|name| written.is_set(name)) {
            problems.add_together(
                name,
                &[file],
                format!("has no effect: {file} is the standard output"),
            );
        }
    }
    if rotation.is_none() && written.is_set(keep) {
        problems.add_together(keep, &[size, file], format!("has no effect: {size} is 0"));
    }
}

fn names(path: Option<&Path>, problems: &mut Problems) -> Option<Names> {
    let name = AuditSettings::audit_key_file;
    let Some(path) = path else {
        let audit = AuditSettings::audit;
        problems.add_together(name, &[audit], format!("must be set, because {audit} is"));
        return None;
    };
    let names = Names::from_file(path);
    names.map_err(|wrong| problems.add(name, wrong)).ok()
}
