//! Measures a migration by the program itself, and how long another client of the same Redis waits meanwhile.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use testkit::{broker_process::program, old_rows, redis_server::RedisServer};
use tokio::runtime::Runtime;

use crate::{
    figures::{Figure, Series, Table},
    options::Options,
    servers,
};

const PREFIX: &str = "thv:auth:{ns:name}:";
/// A key that the migration leaves alone.
const OTHER: &str = "of-somebody-else";

/// Measures in rounds, each on a new Redis.
pub(crate) fn measure(options: &Options, runtime: &Runtime) -> Table {
    let rows = options.sizes.migration;
    let rounds: Vec<_> = (0..options.rounds).map(|_| round(rows, runtime)).collect();
    let of = |nth: usize| rounds.iter().map(|round| round[nth]).collect();
    let figures = vec![
        Figure::new("rows_per_second", "rows/s", of(0)),
        Figure::new("redis_busy_percent", "Redis busy %", of(1)),
        Figure::new("other_p50_us", "another client's p50 µs", of(2)),
        Figure::new("other_p99_us", "p99 µs", of(3)),
        Figure::new("other_longest_us", "longest µs", of(4)),
        Figure::new("later_start_ms", "a later run ms", of(5)),
    ];
    let labels = vec![
        ("measure", json!("migration")),
        ("rows", json!(rows)),
        ("subject", json!("redis")),
    ];
    Table {
        title: format!("migration of {rows} rows, and an identity for each user"),
        series: vec![Series::new(labels, figures)],
    }
}

fn round(rows: usize, runtime: &Runtime) -> [f64; 6] {
    let redis = RedisServer::start();
    runtime.block_on(old_rows::fill(&redis, PREFIX, rows));
    redis.ask::<()>(&["SET", OTHER, "value"]).unwrap();
    let server = servers::redis_process(&redis);
    let cpu = server.cpu();
    let (took, mut waits) = beside(&redis, || migrate(&redis));
    let busy = (server.cpu() - cpu).as_secs_f64() / took.as_secs_f64();
    let migrated: u64 = redis
        .ask(&["EXISTS", &new_key(0), &new_key(rows - 1)])
        .unwrap();
    assert_eq!(migrated, 2);

    waits.sort_unstable();
    let micros =
        |of_a_thousand: usize| waits[(waits.len() - 1) * of_a_thousand / 1000].as_secs_f64() * 1e6;
    [
        rows as f64 / took.as_secs_f64(),
        100.0 * busy,
        micros(500),
        micros(990),
        micros(1000),
        migrate(&redis).as_secs_f64() * 1e3,
    ]
}

fn new_key(n: usize) -> String {
    let row = old_rows::old_row(n);
    format!("{PREFIX}upstream:{}:{}", row.session, row.provider)
}

/// Runs the program, and returns how long it took.
fn migrate(redis: &RedisServer) -> Duration {
    let mut command: Command = program();
    command
        .args(["migrate", "--backend", "redis", "--tenant", "ns:name"])
        .args(["--redis-url", &redis.url()])
        .args(
            old_rows::MAPPING
                .iter()
                .flat_map(|pair| ["--legacy-provider", pair]),
        )
        .stdin(Stdio::null());
    let begun = Instant::now();
    let output = command.output().unwrap();
    let took = begun.elapsed();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    took
}

/// Does `work`, and returns how long each call of another client took meanwhile.
fn beside<T>(redis: &RedisServer, work: impl FnOnce() -> T) -> (T, Vec<Duration>) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let (mut connection, mut waits) = (redis.raw(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                redis::cmd("GET").arg(OTHER).exec(&mut connection).unwrap();
                waits.push(begun.elapsed());
            }
            waits
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        (done, caller.join().unwrap())
    })
}
