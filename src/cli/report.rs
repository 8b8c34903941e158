//! Reports on stdout. A report names keys, and a key holds a session's id. It is for the operator who asked, never for
//! the log.

use std::{
    fmt::Display,
    io::{self, Write},
};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// How a report looks.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct ReportArgs {
    /// How the report looks
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
    /// The error of the operating system, if stdout can't be written.
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
