//! Tests a healthy tenant under load. `CHECK_ROWS` is the number of its rows, 3,000 by default. The relevant
//! figures are those of `CHECK_ROWS=200000 cargo test --release --test check healthy -- --nocapture`.

use std::{env, time::Duration};

use redis::Pipeline;
use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant};
use token_broker::store::redis::{
    maintenance::check::{Check, Report},
    maintenance::progress::Silent,
};

use crate::{
    load::{Load, user_of},
    repair,
};

const ROWS_A_SESSION: usize = 2;

/// Writes rows of 2 KiB, two per session and twenty per user. One in twenty has no expiry.
fn fill(tenant: &RedisTenant, rows: usize) {
    let mut raw = tenant.raw();
    let token = "x".repeat(850);
    for begin in (0..rows).step_by(1_000) {
        let mut pipe = Pipeline::new();
        for number in begin..rows.min(begin + 1_000) {
            let session = number / ROWS_A_SESSION;
            let provider = ["p", "q"][number % ROWS_A_SESSION];
            let user = user_of(session);
            let json = format!(
                r#"{{"provider_id":"{provider}","access_token":"{token}","refresh_token":"{token}","id_token":"","expires_at":4102444800,"session_expires_at":0,"user_id":"{user}","upstream_subject":"{number}","client_id":"c","version":7}}"#
            );
            let key = tenant.key(&format!("upstream:s{session}:{provider}"));
            pipe.set(&key, json).ignore();
            let endless = session.is_multiple_of(20);
            if !endless {
                let life = 3_600_000 + 1_000 * i64::try_from(number).unwrap();
                pipe.pexpire(&key, life).ignore();
            }
            for index in [
                format!("upstream:idx:s{session}"),
                format!("user:upstream:{user}"),
            ] {
                let index = tenant.key(&index);
                pipe.sadd(&index, &key).ignore();
                let has_endless =
                    endless || (index.contains("user:") && (session / 10).is_multiple_of(2));
                if !has_endless {
                    // A later row lives longer.
                    let life = 3_600_000 + 1_000 * i64::try_from(number).unwrap();
                    pipe.pexpire(&index, life).ignore();
                }
            }
        }
        pipe.exec(&mut raw).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reported_of_a_healthy_tenant_under_load() {
    let rows: usize = env::var("CHECK_ROWS").map_or(3_000, |rows| rows.parse().unwrap());
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    fill(&tenant, rows);
    tenant.audit();
    let quiet = figures(&server, "quiet", &tenant, None).await;
    assert_eq!(quiet.found, Default::default(), "{quiet}");
    assert_eq!(quiet.counts.rows, rows as u64);

    let load = Load::start(&tenant, 8, rows / ROWS_A_SESSION);
    figures(&server, "under load", &tenant, Some(&load)).await;
    // A repair of a healthy tenant only removes leftovers.
    let mut looked_again = 0;
    for _ in 0..2 {
        let report = repair(&tenant).await;
        assert_eq!(report.damage, [], "{report}");
        looked_again += report.looked_again;
    }
    let calls = load.stop().await;
    println!("{calls} calls meanwhile; {looked_again} rows changed while they were looked at");
    assert!(calls > 100, "there was no load");
    tenant.audit();
}

/// Checks once, and prints the time and costs.
async fn figures(
    server: &RedisServer,
    what: &str,
    tenant: &RedisTenant,
    load: Option<&Load>,
) -> Report {
    let (cpu, calls) = (cpu_of(server), load.map(Load::calls));
    let check = Check::new(&tenant.store());
    let report = check.run(&Silent).await.unwrap();
    assert_eq!(report.damage, [], "{report}");
    let cpu = cpu_of(server) - cpu;
    let keys = f64::from(u32::try_from(report.counts.keys).unwrap());
    println!(
        "{what}: {} rows, {} keys and {} members in {:.1} s: {:.0} keys/s; Redis was busy for {:.1} s",
        report.counts.rows,
        report.counts.keys,
        report.counts.members,
        report.seconds,
        keys / report.seconds,
        cpu.as_secs_f64(),
    );
    if let (Some(load), Some(before)) = (load, calls) {
        let calls = load.calls() - before;
        println!("{:.0} calls/s meanwhile", calls as f64 / report.seconds);
    }
    report
}

/// Returns the CPU time that Redis has used.
fn cpu_of(server: &RedisServer) -> Duration {
    let info: String = redis::cmd("INFO")
        .arg("cpu")
        .query(&mut server.raw())
        .unwrap();
    let seconds = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').parse().unwrap()
    };
    Duration::from_secs_f64(seconds("used_cpu_sys") + seconds("used_cpu_user"))
}
