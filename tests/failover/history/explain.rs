//! Explains a misfit to a person: what was done to the row around the event, and which values the
//! row may have held.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use super::{History, Misfit, Read, Value, check::Event};

/// How many lines before the event the explanation shows.
const LINES: usize = 40;

/// Returns an explanation: after `event` no course is left, and before it the row may have held
/// `values`.
pub(super) fn misfit(
    history: &History,
    reads: &[Read],
    at: Duration,
    event: Event,
    values: &BTreeSet<Value>,
) -> Misfit {
    let mut lines = Vec::new();
    for switch in &history.switches {
        lines.push((switch.begun, format!("{} fault", millis(switch.begun))));
        lines.push((switch.seen, format!("{} switch", millis(switch.seen))));
    }
    for write in history.writes.iter().filter(|write| write.called <= at) {
        let (span, value) = (span(write.called, write.returned), value(write.value));
        let line = format!("{span} write {value}: {}", write.note);
        lines.push((write.called, line));
    }
    for (number, read) in reads.iter().enumerate() {
        if read.called <= at {
            let (span, value) = (span(read.called, read.returned), value(read.value));
            let here = if event == Event::ReadReturned(number) {
                "  <== doesn't fit"
            } else {
                ""
            };
            let line = format!("{span} read {value}: {}{here}", read.note);
            lines.push((read.called, line));
        }
    }
    lines.sort();
    let values: Vec<_> = values.iter().map(|held| value(*held)).collect();
    let mut text = format!(
        "{}: at {} ms nothing explains {event:?}; the row may have held: {}\n",
        history.row,
        millis(at),
        values.join(", ")
    );
    let skipped = lines.len().saturating_sub(LINES);
    for (_, line) in &lines[skipped..] {
        _ = writeln!(text, "  {line}");
    }
    Misfit(text)
}

fn value(value: Value) -> String {
    value.map_or("nothing".to_owned(), |number| format!("#{number}"))
}

fn span(from: Duration, to: Duration) -> String {
    format!("{}..{}", millis(from), millis(to))
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}
