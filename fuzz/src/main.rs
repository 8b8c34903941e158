//! Coverage-guided fuzzing of what reads bytes that others wrote (`tests/README.md`, "Fuzzing"). `scripts/fuzz` builds and runs it.
//!
//! libFuzzer drives this program. The variable `FUZZ_TARGET` names what it fuzzes, one of [`targets::ALL`]. With `FUZZ_PLANTED`
//! set, each target calls a broken variant of what it fuzzes, which has to be found.
#![no_main]

mod input;
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};

/// What this process fuzzes.
static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    targets::named(&name)
        .unwrap_or_else(|| panic!("FUZZ_TARGET must be one of {}", targets::names()))
});

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match TARGET(bytes) {
        Some(()) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
