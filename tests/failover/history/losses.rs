//! Counts what was lost for good, by what is read once everything has settled.

use std::time::Duration;

use super::{History, check};

/// The acknowledged writes that the settled row doesn't show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Losses {
    /// Stores that were lost.
    pub(crate) lost: usize,
    /// Deletes that were undone.
    pub(crate) undone: usize,
}

impl Losses {
    /// Adds the losses of another row.
    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.undone += other.undone;
    }

    /// Returns the sum of both.
    pub(crate) fn all(self) -> usize {
        self.lost + self.undone
    }
}

/// Returns the largest number of losses that any of the last reads shows. If a read fits, it shows
/// no loss. Otherwise all acknowledged writes since the one that it shows are lost.
pub(crate) fn losses(history: &History) -> Losses {
    let mut most = Losses::default();
    for read in &history.last {
        let alone = History {
            reads: Vec::new(),
            last: vec![read.clone()],
            ..history.clone()
        };
        if check(&alone, Duration::ZERO).is_ok() {
            continue;
        }
        let mut losses = Losses::default();
        for write in history.writes.iter().rev() {
            if write.value == read.value {
                break;
            }
            match write.value {
                _ if !write.acknowledged => {}
                Some(_) => losses.lost += 1,
                None => losses.undone += 1,
            }
        }
        if losses.all() > most.all() {
            most = losses;
        }
    }
    most
}
