//! Reports the figures to a person. Writes them into `docs/failover.md` if all rounds were run.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use crate::{outcome::Outcome, series};

/// Returns one round as one line.
pub(crate) fn line(outcome: &Outcome) -> String {
    let Outcome { losses, reads, .. } = outcome;
    format!(
        "{} writes acknowledged, {} without an answer, {} lost, {} undone, {} twice, {} reads stale (up to {}), \
         {} taken back; switch after {}, reads {}, writes {}; {} misfits; {:?}",
        outcome.acknowledged,
        outcome.unknown,
        losses.lost,
        losses.undone,
        outcome.twice,
        reads.stale,
        millis(reads.longest),
        reads.taken_back,
        millis(worst(&outcome.detections)),
        millis(worst(&outcome.read_outages)),
        millis(worst(&outcome.write_outages)),
        outcome.misfits.len(),
        outcome.failures,
    )
}

/// Prints the figures of a series, and replaces those in its section of the docs.
pub(crate) fn publish(section: &str, lines: &[(String, Outcome)]) {
    let mut tables = losses(lines);
    if lines
        .iter()
        .any(|(_, outcome)| !outcome.detections.is_empty())
    {
        tables += "\n";
        tables += &outages(lines);
    }
    eprintln!("{section}:\n{tables}");
    if series::is_full() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failover.md");
        let page = fs::read_to_string(&path).unwrap();
        let (begin, end) = (format!("<!-- figures: {section} -->\n"), "<!-- end -->");
        let (before, rest) = page.split_once(&begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        fs::write(&path, format!("{before}{begin}{tables}{end}{after}")).unwrap();
    }
}

fn losses(lines: &[(String, Outcome)]) -> String {
    let mut text = heading(&[
        "fault",
        "rounds",
        "calls",
        "writes acknowledged",
        "without an answer",
        "**acknowledged writes lost**",
        "**deletions undone**",
        "**applied twice**",
        "reads of a demoted primary",
        "the longest after the switch",
        "reads of what was taken back",
    ]);
    for (name, outcome) in lines {
        let Outcome { losses, reads, .. } = outcome;
        _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            outcome.rounds,
            outcome.calls,
            outcome.acknowledged,
            outcome.unknown,
            losses.lost,
            losses.undone,
            outcome.twice,
            reads.stale,
            millis(reads.longest),
            reads.taken_back,
        );
    }
    text
}

fn outages(lines: &[(String, Outcome)]) -> String {
    let mut text = heading(&[
        "fault",
        "fault to switch: median",
        "worst",
        "switch to first read: median",
        "worst",
        "switch to first write: median",
        "worst",
        "longest call",
    ]);
    for (name, outcome) in lines {
        _ = write!(text, "| {name}");
        for spans in [
            &outcome.detections,
            &outcome.read_outages,
            &outcome.write_outages,
        ] {
            _ = write!(
                text,
                " | {} | {}",
                millis(median(spans)),
                millis(worst(spans))
            );
        }
        _ = writeln!(text, " | {} |", millis(outcome.longest_call));
    }
    text
}

fn heading(columns: &[&str]) -> String {
    format!(
        "| {} |\n|{}\n",
        columns.join(" | "),
        "---|".repeat(columns.len())
    )
}

fn median(spans: &[Duration]) -> Duration {
    let mut spans = spans.to_vec();
    spans.sort();
    spans.get(spans.len() / 2).copied().unwrap_or_default()
}

fn worst(spans: &[Duration]) -> Duration {
    spans.iter().max().copied().unwrap_or_default()
}

fn millis(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}
