//! Reports on stdout. A report names keys, and a key contains a session's id. A report is for the operator who asked
//! for it and never goes to the log.

use std::{
    fmt::Display,
    io::{self, Write},
};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// The options of a report.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct ReportArgs {
    /// The format of the report
    #[arg(long, value_enum, default_value = "text")]
    report: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl ReportArgs {
    /// Prints `report`.
    ///
    /// # Errors
    /// Returns the operating system's error if writing to stdout fails.
    pub(super) fn print(self, report: &(impl Display + Serialize)) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.report {
            Format::Text => write!(out, "{report}")?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, report)?;
                writeln!(out)?;
            }
        }
        out.flush()
    }
}
