//! `token-broker audit`: verifies the files of an audit trail, and names what stands in them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    DONE, FAILED, USAGE,
    audit_names::{self, NameArgs},
    complain, out, path,
};
use crate::audit::verify::{Anchor, Missing, Report, verify};

const NO_LINES: &str = "there are no lines: the broker has written none, or all were removed, which only an anchor tells";

/// The options of `audit`.
#[derive(Args, Clone, Debug)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum AuditCommand {
    /// Check that no line of the files was removed, changed or moved; exit code 1 if one was
    Verify(VerifyArgs),
    /// Print by which names sessions, rows or users stand in events. Reads their ids from stdin, one a line
    Name(NameArgs),
}

/// The options of `audit verify`.
#[derive(Args, Clone, Debug)]
struct VerifyArgs {
    /// A line that has to be there, as the broker's log names it, or as an earlier run of this command did
    #[arg(long, value_name = "NUMBER:HASH", value_parser = anchor)]
    anchor: Vec<Anchor>,
    /// The files of one trail, in any order
    #[arg(required = true, value_name = "FILE", value_parser = path())]
    files: Vec<PathBuf>,
}

fn anchor(text: &str) -> Result<Anchor, &'static str> {
    Anchor::parse(text).ok_or("must be a number, a colon, and 64 hexadecimal digits")
}

/// Runs the command, and returns the exit code.
pub(super) fn run(args: &AuditArgs) -> u8 {
    match &args.command {
        AuditCommand::Verify(args) => verified(args),
        AuditCommand::Name(args) => audit_names::run(args),
    }
}

/// Verifies, and prints what was found.
fn verified(args: &VerifyArgs) -> u8 {
    let report = match verify(&args.files, &args.anchor) {
        Ok(report) => report,
        Err((path, error)) => {
            complain(&format!("{}: {error}", path.display()));
            return USAGE;
        }
    };
    match out(&text(&report)) {
        DONE if report.is_whole() => DONE,
        _ => FAILED,
    }
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    if let Some(first) = report.breaks.first() {
        let (file, line) = (first.file.display(), first.line);
        lines.push(format!("DAMAGED: {file}, line {line}: {}", first.damage));
        if let more @ 1.. = report.breaks.len() - 1 {
            lines.push(format!("and {more} more places after it"));
        }
    }
    for seq in &report.anchors_missed {
        lines.push(format!(
            "DAMAGED: the line of anchor {seq} isn't there, or was changed"
        ));
    }
    let Report { lines: count, .. } = report;
    if *count > 0 && report.is_whole() {
        lines.push("whole: each line names the one before it".to_owned());
    }
    let Report {
        first, last, hash, ..
    } = report;
    if *count == 0 {
        lines.push(NO_LINES.to_owned());
        return lines.join("\n") + "\n";
    }
    lines.push(format!("lines: {count}, from number {first} to {last}"));
    if *first > 1 {
        lines.push(format!(
            "lines 1 to {} aren't in these files, and nothing is said about them",
            first - 1
        ));
    }
    let Missing { lost, refused } = report.told_missing;
    if lost > 0 || refused > 0 {
        lines.push(format!(
            "the lines tell of {lost} events that were lost, and of {refused} calls that were refused because their \
             events couldn't be written"
        ));
    }
    lines.push(end(report).to_owned());
    lines.push(format!("last line: {last}:{hash}"));
    lines.join("\n") + "\n"
}

fn end(report: &Report) -> &'static str {
    match (report.is_ended, report.is_cut) {
        (true, _) => "end: the broker stopped in order",
        (false, false) => {
            "end: open. The broker runs or was killed, or lines were cut off, which only an anchor tells"
        }
        (false, true) => {
            "end: in the middle of a line. The broker writes it or was killed, or lines were cut off, which only an \
             anchor tells"
        }
    }
}
