//! Faults of the broker itself.

use super::Count;

/// The panics of this process, which the program counts where it tells of them. None is a way of working: each is a fault.
pub static PANICS: Count = Count::new();
