//! Tests that hostile and slow clients cost bounded memory and bounded work (guarantees, section 2.5), and that
//! others are served meanwhile. Each test runs the program in a process of its own, whose memory is measured.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and some print figures"
)]

mod answers;
mod attacks;
mod descriptors;
mod doors;
mod each;
mod ends;
mod frames;
mod honest;
mod idle;
mod memory;
mod minute;
mod pace;
mod raw;
mod requests;
mod resets;
mod room;
mod standstill;
mod target;
