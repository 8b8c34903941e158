//! Tests the migration of the data of older auth servers (guarantees, section 5), on a real Redis. The tests write
//! the old data as raw keys, and never through the broker's code.
//!
//! | clause | file |
//! |---|---|
//! | M1 rows move whole | `rows`, `together`, `crash`, `races` |
//! | M2 newer rows stay, stragglers win over migrated ones | `newer_rows`, `races`, `sealed` where rows are sealed |
//! | M3 logical names, `null`, vanished and expired rows | `rows` |
//! | M4 identities | `identities` |
//! | M5 idempotent, many replicas, continues after a crash | `replicas`, `crash`, `process` |
//! | M6 what can't be migrated | `failures` |
//! | M7 the record, the grace period, stragglers | `start`, `grace`, `stragglers` |
//! | M7 Redis loses what was noted | `lost_record` |
//! | M5 and M7, what others plant in the place of the broker's own keys | `planted` |
//! | M7 every server, although servers change | `moving`, `there_and_back` |
//! | M8 dry run and progress | `dry_run` |
//!
//! `foreign` tests that nothing else is touched. `teeth` tests that these tests notice damage. `speed` measures the
//! speed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unused_must_use,
    reason = "test helpers panic as tests do, and one test prints figures"
)]

mod crash;
mod dry_run;
mod failures;
mod foreign;
mod grace;
mod identities;
mod logins;
mod lost_record;
mod moving;
mod newer_rows;
mod old_tenant;
mod planted;
mod process;
mod races;
mod replicas;
mod rows;
mod sealed;
mod seed;
mod speed;
mod start;
mod stragglers;
mod teeth;
mod there_and_back;
mod together;
