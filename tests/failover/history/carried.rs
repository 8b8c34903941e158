//! Checks that no refresh token comes back: a write that carries one forward takes that of the row that it replaces.
//! If an acknowledged write has replaced or deleted that row before the carrying write was called, the token is gone.
//! The check skips cases with a switch in between, which may have taken the row back.

use std::time::Duration;

use super::{History, Misfit, Write};
use crate::rows::carries;

/// Finds a row with a refresh token that was gone.
pub(super) fn look(history: &History, bound: Duration) -> Result<(), Misfit> {
    let write_of = |number: u64| {
        let mut writes = history.writes.iter();
        writes.find(|write| write.value == Some(number))
    };
    let steady = |from: Duration, to: Duration| {
        let mut switches = history.switches.iter();
        switches.all(|switch| to < switch.begun || switch.seen + bound < from)
    };
    for read in history.reads.iter().chain(&history.last) {
        let (Some(shown), Some(token)) = (read.value.filter(|n| carries(*n)), read.refresh) else {
            continue;
        };
        let misfit = |why: &str| {
            let row = &history.row;
            Err(Misfit(format!("{row}: {why}, but it is in {read:?}")))
        };
        let (Some(carrier), Some(source)) = (write_of(shown), write_of(token)) else {
            return misfit("the refresh token was never stored in this row");
        };
        let brings_its_own = |write: &Write| write.value.is_none_or(|number| !carries(number));
        let over = history.writes.iter().find(|over| {
            over.acknowledged
                && brings_its_own(over)
                && source.acknowledged
                && over.called > source.returned
                && over.returned < carrier.called
        });
        if let Some(over) = over
            && steady(source.called, read.returned)
        {
            return misfit(&format!("{over:?} ended the refresh token"));
        }
    }
    Ok(())
}
