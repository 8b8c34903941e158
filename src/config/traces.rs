//! Turns the settings of traces into their options.

use std::path::Path;

use super::{problem::Problems, settings::TracesSettings, written::Settings};
use crate::{
    traces::{Collector, CollectorProblem, TracesOptions},
    types::{Secret, SecretBytes, read_secret, read_whole},
};

/// The settings that have no effect without a collector.
const OTHERS: [&str; 6] = [
    TracesSettings::traces_one_in,
    TracesSettings::traces_of_callers,
    TracesSettings::traces_ca,
    TracesSettings::traces_header_file,
    TracesSettings::traces_service,
    TracesSettings::traces_instance,
];
/// How many spans may wait to be sent. They hold about 2 MiB.
const ROOM: usize = 4096;

/// Returns how calls are traced, if they are.
pub(super) fn options(
    written: &Settings,
    read: TracesSettings,
    problems: &mut Problems,
) -> Option<TracesOptions> {
    let name = TracesSettings::traces_endpoint;
    let Some(address) = read.traces_endpoint else {
        for other in OTHERS.iter().filter(|other| written.is_set(other)) {
            problems.add_together(other, &[name], format!("has no effect: {name} is unset"));
        }
        return None;
    };
    let (ca, header) = (
        TracesSettings::traces_ca,
        TracesSettings::traces_header_file,
    );
    let authorities = read.traces_ca.as_deref().map(authorities).transpose();
    let authorities = authorities.map_err(|wrong| problems.add(ca, wrong)).ok()?;
    let secret = read.traces_header_file.as_deref().map(secret).transpose();
    let secret = secret.map_err(|wrong| problems.add(header, wrong)).ok()?;
    let collector = Collector::new(&address, authorities.as_deref(), secret.as_ref());
    let collector = collector.map_err(|problem| match problem {
        CollectorProblem::Address(wrong) => problems.add(name, wrong),
        CollectorProblem::Authorities(wrong) => problems.add_together(ca, &[name], wrong),
        CollectorProblem::Header(wrong) => problems.add_together(header, &[name], wrong),
    });
    Some(TracesOptions {
        collector: collector.ok()?,
        part: match read.traces_one_in {
            0 => 0.0,
            calls => 1.0 / f64::from(calls),
        },
        asked: read.traces_of_callers,
        room: ROOM,
        service: read.traces_service,
        instance: read.traces_instance,
    })
}

fn authorities(path: &Path) -> Result<SecretBytes, String> {
    read_whole(path).map_err(|wrong| wrong.to_string())
}

fn secret(path: &Path) -> Result<Secret, String> {
    read_secret(path)
        .map_err(|wrong| format!("{wrong}; it must be the path of a file that holds one header"))
}
