//! Checks that a write doesn't take effect twice. A write without an answer may take effect late. But once its value has
//! been seen and then overwritten by an acknowledged write, no write may show it again. The check skips cases with a
//! switch in between, which may have taken the overwriting back, and it covers only stores, because one deletion looks
//! like another.

use std::time::Duration;

use super::{History, Misfit};

/// Finds a write that took effect twice.
pub(super) fn look(history: &History, bound: Duration) -> Result<(), Misfit> {
    let reads = || history.reads.iter().chain(&history.last);
    let steady = |from: Duration, to: Duration| {
        let mut switches = history.switches.iter();
        switches.all(|switch| to < switch.begun || switch.seen + bound < from)
    };
    for write in &history.writes {
        if write.value.is_none() {
            continue;
        }
        let mut seen: Vec<_> = reads().filter(|read| read.value == write.value).collect();
        seen.sort_by_key(|read| read.returned);
        let Some(first) = seen.first() else { continue };
        for again in &seen[1..] {
            let between = history.writes.iter().find(|over| {
                over.acknowledged && over.called > first.returned && over.returned < again.called
            });
            if let Some(over) = between
                && steady(first.called, again.returned)
            {
                return Err(Misfit(format!(
                    "{}: a write was done twice: {write:?}\n  seen {first:?}\n  \
                     overwritten {over:?}\n  seen again {again:?}",
                    history.row
                )));
            }
        }
    }
    Ok(())
}
