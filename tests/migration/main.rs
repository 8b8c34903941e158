//! Taking over the data of older auth servers (guarantees, section 5), against a real Redis. The old data
//! is written as raw keys, never through our own code.
//!
//! | clause | file |
//! |---|---|
//! | M1 rows move whole | `rows`, `crash`, `races` |
//! | M2 newer rows stay, stragglers win over migrated ones | `newer_rows`, `races` |
//! | M3 logical names, `null`, vanished and expired rows | `rows` |
//! | M4 identities | `identities` |
//! | M5 idempotent, many replicas, continues after a crash | `replicas`, `crash`, `process` |
//! | M6 what can't be migrated | `failures` |
//! | M7 the record, the grace period, stragglers | `start`, `grace`, `stragglers` |
//! | M8 dry run and progress | `dry_run` |
//!
//! Nothing else is touched: `foreign`. That these tests notice damage: `teeth`. How fast: `speed`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unused_must_use,
    reason = "helpers of tests are tests, and one tells figures"
)]

mod crash;
mod dry_run;
mod failures;
mod foreign;
mod grace;
mod identities;
mod moving;
mod newer_rows;
mod old_tenant;
mod process;
mod races;
mod replicas;
mod rows;
mod seed;
mod speed;
mod start;
mod stragglers;
mod teeth;
