//! Migrates a large tenant. Checks that every row arrives, and prints how long that took and where it went.
//! `MIGRATION_ROWS` is the number of rows, 5,000 by default. `cargo bench --bench load -- migration` measures the speed.

use std::{env, time::Duration};

use redis::Pipeline;
use testkit::old_rows::{MAPPING, ROWS_A_USER, fill, old_row, token_of};
use token_broker::{
    store::{Store, redis::maintenance::migration::progress::Silent},
    types::UserId,
};
use tokio::time::Instant;

use crate::{
    foreign,
    old_tenant::{OldTenant, P, row_key},
};

async fn assert_migrated(tenant: &OldTenant, rows: usize, filled: Instant) {
    let store = tenant.store();
    let mut connection = tenant.redis.connect().await;
    for begin in (0..rows).step_by(500) {
        let batch: Vec<_> = (begin..rows.min(begin + 500)).map(old_row).collect();
        let keys: Vec<_> = batch
            .iter()
            .map(|row| row_key(&row.session, row.provider))
            .collect();
        let read = store.get_many(&keys).await.unwrap();
        let mut pipe = Pipeline::new();
        for row in &batch {
            pipe.pttl(format!("{P}upstream:{}:{}", row.session, row.provider));
        }
        let left: Vec<i64> = pipe.query_async(&mut connection).await.unwrap();
        let passed = i64::try_from(filled.elapsed().as_millis()).unwrap();
        for (n, ((row, read), left)) in batch.iter().zip(read).zip(left).enumerate() {
            let read = read.expect("a row").expect("readable").row;
            let token = read.access_token.unwrap();
            assert!(token.expose().starts_with(&token_of(begin + n)));
            assert_eq!(read.user_id.unwrap().as_str(), row.user);
            match row.life {
                None => assert_eq!(left, -1),
                // Filling took a while. It began before `filled` and ended after it.
                Some(life) => {
                    let was = i64::try_from(life).unwrap();
                    assert!(
                        left <= was && left >= was - passed - 1_000,
                        "{left} of {was}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_large_tenant_arrives_whole() {
    let rows = env::var("MIGRATION_ROWS").map_or(5_000, |rows| rows.parse().unwrap());
    let tenant = OldTenant::new().await;
    let began = Instant::now();
    foreign::plant(&tenant).await;
    let others = tenant.snapshot_of_all().names();
    let theirs = foreign::dumps(&tenant, &others).await;
    fill(&tenant.redis, P, rows).await;

    let migration = tenant.migration(&MAPPING);
    let begun = Instant::now();
    let cpu = cpu_of(&tenant).await;
    let report = migration.ensure_migrated(&Silent).await.unwrap().unwrap();
    let (took, cpu) = (begun.elapsed(), cpu_of(&tenant).await - cpu);
    println!(
        "{rows} rows and {} identities in {took:?}: {:.0} rows/s; Redis was busy {:.0}% of it; \
         commands that took most of it:\n{}",
        report.identities.migrated,
        rows as f64 / took.as_secs_f64(),
        100.0 * cpu.as_secs_f64() / took.as_secs_f64(),
        costs(&tenant).await,
    );
    assert!(report.is_complete());
    assert_eq!(report.rows.migrated, rows as u64);
    assert_eq!(
        report.identities.migrated,
        rows.div_ceil(ROWS_A_USER) as u64
    );
    assert_migrated(&tenant, rows, began).await;

    let begun = Instant::now();
    assert_eq!(migration.ensure_migrated(&Silent).await.unwrap(), None);
    println!("a later start: {:?}", begun.elapsed());
    let begun = Instant::now();
    let sweep = migration.sweep(Duration::ZERO).await.unwrap();
    assert_eq!(sweep.unwrap().rows.changed(), 0);
    println!("a sweep: {:?}", begun.elapsed());

    let user = UserId::new("user-0").unwrap();
    let deleted = tenant.broker().delete_user(&user).await.unwrap();
    assert_eq!((deleted.rows, deleted.identities), (ROWS_A_USER as u64, 2));
    assert_eq!(foreign::dumps(&tenant, &others).await, theirs);
}

/// Returns the CPU time that Redis has used.
async fn cpu_of(tenant: &OldTenant) -> Duration {
    let info: String = tenant.cmd("INFO", &["cpu"]).await;
    let seconds = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').parse().unwrap()
    };
    let all = seconds("used_cpu_sys_main_thread") + seconds("used_cpu_user_main_thread");
    Duration::from_secs_f64(all)
}

async fn costs(tenant: &OldTenant) -> String {
    let info: String = tenant.cmd("INFO", &["commandstats"]).await;
    let kept = ["cmdstat_evalsha", "cmdstat_mget", "cmdstat_scan"];
    let lines = info
        .lines()
        .filter(|line| kept.iter().any(|name| line.starts_with(name)));
    lines.collect::<Vec<_>>().join("\n")
}
