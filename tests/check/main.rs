//! Tests `token-broker check` on a real Redis: what it finds, what it mends, and that its findings are right while
//! other clients write. The tests plant damage with raw commands, and never through the broker's code.
//!
//! | what | file |
//! |---|---|
//! | each damage is found by kind and key; a check changes nothing; a repair mends it | `planted` |
//! | all of them are mended under load, and no healthy row is touched | `repair` |
//! | a healthy tenant under load is healthy: `CHECK_ROWS` says how large | `healthy` |
//! | what other software leaves behind isn't damage | `others` |
//! | pending authorizations: what a repair brings about, sealed ones, foreign ones, a load | `pending` |
//! | a tenant without data: its name may be wrong | `misnamed` |
//! | writes and crashes between the steps of a check | `races` |
//! | a slot of a cluster moves during a check | `moving` |
//! | a check that isn't atomic would report false damage; the audit notices unmended damage | `teeth` |
//! | the report for the operator | `report` |
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and one test prints figures"
)]

mod damage;
mod healthy;
mod load;
mod misnamed;
mod moving;
mod others;
mod pending;
mod planted;
mod races;
mod repair;
mod report;
mod teeth;

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, snapshot::Snapshot};
use token_broker::store::redis::{
    maintenance::check::{Check, FindingKind, Report},
    maintenance::progress::Silent,
};

/// Returns a new tenant on the Redis that the tests share.
fn tenant() -> RedisTenant {
    RedisTenant::on(RedisServer::shared())
}

/// Checks the tenant without changing it.
async fn look(tenant: &RedisTenant) -> Report {
    Check::new(&tenant.store()).run(&Silent).await.unwrap()
}

/// Checks the tenant and mends what can be mended.
async fn repair(tenant: &RedisTenant) -> Report {
    let check = Check::new(&tenant.store()).repairing(true);
    check.run(&Silent).await.unwrap()
}

/// Returns everything that a report lists: kind, key and index.
fn found(report: &Report) -> Vec<(FindingKind, &str, Option<&str>)> {
    let all = report.damage.iter().chain(&report.leftovers);
    all.map(|finding| (finding.kind, &*finding.key, finding.index.as_deref()))
        .collect()
}

/// Returns the rows of a snapshot, with their expiries.
fn rows(snapshot: &Snapshot, prefix: &str) -> Snapshot {
    let begin = format!("{prefix}upstream:");
    let index = format!("{prefix}upstream:idx:");
    let is_row =
        |key: &[u8]| key.starts_with(begin.as_bytes()) && !key.starts_with(index.as_bytes());
    let rows = snapshot.0.iter().filter(|(key, _)| is_row(key));
    Snapshot(
        rows.map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}
