//! M7: Redis loses what the brokers noted there, because it came back empty, from an older backup, or with less after a
//! failover. Running brokers notice, and no absence counts as the end of the grace period.

use std::{sync::Arc, time::Duration};

use testkit::{
    broker_process::{BrokerProcess, output, program},
    requests::get_request,
    resp_proxy::{Fate, RespProxy},
    rows::put_always,
    waiting::{found, until},
};
use token_broker::{
    proto::v1,
    store::{Put, Store, redis::maintenance::migration::progress::Silent},
    types::{Row, UserId},
};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::old_tenant::{OldTenant, P, assert_kept, old_json, row_key};

const GRACE: &str = "thv:auth:{ns:name}:broker:grace";
const RECORD: &str = "thv:auth:{ns:name}:broker:migration";

/// A running broker of the tenant.
fn broker(tenant: &OldTenant, more: &[&str]) -> BrokerProcess {
    let url = tenant.redis.url();
    let args = ["--backend", "redis", "--redis-url", &url];
    let quick = ["--tenant", "ns:name", "--legacy-sweep-interval", "1s"];
    BrokerProcess::start(&[&args[..], &quick, more].concat())
}

/// Stores a row of `user` that is kept for a minute, by a store that starts nothing.
pub async fn put(tenant: &OldTenant, session: &str, user: &str) {
    let key = row_key(session, "okta");
    let row = Row {
        user_id: UserId::new(user).ok(),
        ..Row::default()
    };
    let put = Put {
        keep_for: Some(Duration::from_secs(60)),
        ..put_always(&key, &row)
    };
    tenant.store().put(put).await.unwrap();
}

/// Returns the code of a `Get`, and the access token that it gives.
async fn get(broker: &BrokerProcess, session: &str) -> (Code, String) {
    let request = get_request(session, "okta");
    match broker.client().await.get(request).await {
        Ok(answer) => {
            let tokens = answer.into_inner().entry.unwrap().tokens.unwrap();
            (Code::Ok, tokens.access_token)
        }
        Err(status) => (status.code(), String::new()),
    }
}

/// Redis comes back with these rows alone. A broker that looks meanwhile doesn't find it empty.
async fn comes_back_with(tenant: &OldTenant, rows: &[(&str, &str)]) {
    let mut back = redis::pipe();
    back.atomic().cmd("FLUSHALL").arg("SYNC").ignore();
    for (key, text) in rows {
        back.set(format!("{P}{key}"), text).ignore();
    }
    let mut connection = tenant.redis.connect().await;
    back.exec_async(&mut connection).await.unwrap();
}

async fn finish(tenant: &OldTenant) {
    let migration = tenant.migration(&[]);
    migration.finish(false, &Silent).await.unwrap();
}

/// Returns how often brokers have looked at what they rely on, if they don't sweep.
async fn looks(tenant: &OldTenant) -> u64 {
    let stats: String = tenant.cmd("INFO", &["commandstats"]).await;
    let mget = stats.split_once("cmdstat_mget:calls=").unwrap().1;
    mget.split_once(',').unwrap().0.parse().unwrap()
}

/// Without a record nobody knows who else writes. An index that ended then would hide what others added to it.
#[tokio::test]
async fn i3_no_users_index_ends_while_redis_holds_no_record_of_a_migration() {
    let tenant = OldTenant::new().await;
    let index = format!("{P}user:upstream:u");
    put(&tenant, "s", "u").await;
    assert_eq!(tenant.pttl(&index).await, -1);
    tenant.migrate(&[]).await;
    // The tenant held data before it was migrated.
    put(&tenant, "s", "u").await;
    assert_eq!(tenant.pttl(&index).await, -1);
    finish(&tenant).await;
    put(&tenant, "s", "u").await;
    assert_kept(tenant.pttl(&index).await, 60_000);
}

/// Waits until the grace period has begun again, and the migration is noted again.
async fn begins_again(tenant: &OldTenant) {
    until("the grace period begins again", async || {
        tenant.exists(GRACE).await
    })
    .await;
    until("the migration is noted again", async || {
        tenant.exists(RECORD).await
    })
    .await;
}

#[tokio::test]
async fn m7_a_redis_that_comes_back_empty_is_in_its_grace_period_again() {
    let tenant = OldTenant::new().await;
    let broker = broker(&tenant, &["--legacy-provider", "oidc=okta"]);
    broker.serving().await;
    assert!(tenant.exists(GRACE).await);
    tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
    begins_again(&tenant).await;
    let told = broker.tells("record of the migration").await;
    assert!(told.contains("\"WARN\""), "{told}");
    // Stragglers are picked up, and users' indexes don't end.
    tenant
        .old_row("late", &old_json("oidc", "u", "late"), "u", None)
        .await;
    until("the straggler is readable", async || {
        get(&broker, "late").await == (Code::Ok, "at-late".to_owned())
    })
    .await;
    put(&tenant, "s", "v").await;
    assert_eq!(tenant.pttl(&format!("{P}user:upstream:v")).await, -1);
}

/// The whole data is as it was before the first broker, while brokers run.
#[tokio::test]
async fn m7_a_backup_from_before_the_migration_is_migrated_below_running_brokers() {
    let tenant = OldTenant::new().await;
    // One that has a mapping, and one that relies on the mapping of the last migration.
    let first = broker(&tenant, &["--legacy-provider", "oidc=okta"]);
    first.serving().await;
    let second = broker(&tenant, &[]);
    second.serving().await;
    finish(&tenant).await;
    tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
    for n in 0..20 {
        let (session, user) = (format!("s{n}"), format!("u{n}"));
        tenant
            .old_row(&session, &old_json("oidc", &user, &session), &user, None)
            .await;
    }
    for broker in [&first, &second] {
        until("all rows are readable", async || {
            get(broker, "s19").await == (Code::Ok, "at-s19".to_owned())
        })
        .await;
        until("it serves again", async || {
            get(broker, "s0").await.0 == Code::Ok
        })
        .await;
    }
    assert!(tenant.exists(GRACE).await);
}

/// No other software has written to the tenant, so that none is waited for. What brokers stored before they noticed
/// is their own.
#[tokio::test]
async fn m7_a_tenant_without_a_grace_period_gets_none_when_redis_comes_back_empty() {
    let tenant = OldTenant::new().await;
    let broker = broker(&tenant, &[]);
    broker.serving().await;
    tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
    put(&tenant, "s", "u").await;
    until("the migration is noted again", async || {
        tenant.exists(RECORD).await
    })
    .await;
    assert!(!tenant.exists(GRACE).await);
    until("the index ends with its row", async || {
        tenant.pttl(&format!("{P}user:upstream:u")).await > 0
    })
    .await;

    // A backup from before the first broker holds what no broker writes.
    comes_back_with(&tenant, &[("access:signature", "{}")]).await;
    until("the grace period begins", async || {
        tenant.exists(GRACE).await
    })
    .await;
}

/// Eviction, for example, takes a single key.
#[tokio::test]
async fn m7_a_mark_that_is_gone_alone_is_set_again() {
    let tenant = OldTenant::new().await;
    let broker = broker(&tenant, &["--legacy-provider", "oidc=okta"]);
    broker.serving().await;
    tenant.cmd::<()>("DEL", &[GRACE]).await;
    put(&tenant, "s", "u").await;
    until("the grace period goes on", async || {
        tenant.exists(GRACE).await
    })
    .await;
    until("the index has no end", async || {
        tenant.pttl(&format!("{P}user:upstream:u")).await == -1
    })
    .await;
    // A start finds it too.
    drop(broker);
    tenant.cmd::<()>("DEL", &[GRACE]).await;
    let broker = self::broker(&tenant, &[]);
    broker.serving().await;
    assert!(tenant.exists(GRACE).await);
}

/// Indexes that brokers wrote before end. Other software adds members to them without extending them.
#[tokio::test]
async fn i3_a_grace_period_that_begins_late_takes_the_end_off_users_indexes() {
    let tenant = OldTenant::new().await;
    tenant.migrate(&[]).await;
    put(&tenant, "s", "u").await;
    let index = format!("{P}user:upstream:u");
    assert_kept(tenant.pttl(&index).await, 60_000);
    tenant.migrate(&["oidc=okta"]).await;
    assert_eq!(tenant.pttl(&index).await, -1);
}

/// As before the first migration: a row that isn't moved yet must not look as if it weren't there.
#[tokio::test]
async fn m7_calls_are_refused_while_it_migrates_again() {
    let tenant = OldTenant::new().await;
    let (held, release) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (holds, released) = (Arc::clone(&held), Arc::clone(&release));
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let moves = command.args.iter().any(|arg| arg.ends_with(b":okta"))
            && command.args.iter().any(|arg| arg.ends_with(b"upstream:s"));
        let (holds, released) = (Arc::clone(&holds), Arc::clone(&released));
        async move {
            if moves {
                holds.notify_one();
                _ = released.acquire().await;
            }
            Fate::Forward
        }
    })
    .await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let args = ["--backend", "redis", "--redis-url", &url, "--tenant"];
    let more = ["ns:name", "--legacy-provider", "oidc=okta"];
    // A sweep, which would move the row as well, comes later.
    let late = ["--legacy-sweep-interval", "1h", "--redis-timeout", "20s"];
    let late = [&late[..], &["--call-timeout", "30s"]].concat();
    let broker = BrokerProcess::start(&[&args[..], &more, &late].concat());
    broker.serving().await;
    comes_back_with(&tenant, &[("upstream:s", &old_json("oidc", "u", "s"))]).await;
    let moved = timeout(Duration::from_secs(20), held.notified()).await;
    moved.expect("the row is moved");
    assert_eq!(get(&broker, "s").await.0, Code::Unavailable);
    let health = HealthClient::new(broker.connect().await);
    until("health is NOT_SERVING", async || {
        let asked = health
            .clone()
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
        asked.into_inner().status() == ServingStatus::NotServing
    })
    .await;
    release.add_permits(1);
    until("calls are served again", async || {
        get(&broker, "s").await == (Code::Ok, "at-s".to_owned())
    })
    .await;
    broker.serving().await;
}

#[tokio::test]
async fn m6_a_running_broker_ends_if_what_came_back_cannot_be_migrated() {
    let tenant = OldTenant::new().await;
    let mut refuses = broker(&tenant, &["--legacy-provider", "oidc=okta"]);
    refuses.serving().await;
    comes_back_with(&tenant, &[("upstream:bad", "{")]).await;
    assert_eq!(found("an end", || refuses.exit_code()).await, 3);
    refuses
        .tells("Redis lost the record of the migration")
        .await;

    tenant.cmd::<()>("DEL", &[format!("{P}upstream:bad")]).await;
    let allows = ["--legacy-provider", "oidc=okta", "--allow-unmigrated"];
    let allows = broker(&tenant, &allows);
    allows.serving().await;
    let good = old_json("oidc", "u", "good");
    comes_back_with(&tenant, &[("upstream:bad", "{"), ("upstream:good", &good)]).await;
    until("the others are readable", async || {
        get(&allows, "good").await.0 == Code::Ok
    })
    .await;
    assert!(tenant.exists(GRACE).await);
}

/// toolhive's newer server needs no mapping. It adds a row to an index that brokers let end.
#[tokio::test]
async fn i3_delete_user_finds_what_others_add_once_the_grace_period_was_begun() {
    let tenant = OldTenant::new().await;
    let url = tenant.redis.url();
    let args = ["--backend", "redis", "--redis-url", &url, "--tenant"];
    let late = ["ns:name", "--legacy-sweep-interval", "1h"];
    let broker = BrokerProcess::start(&[&args[..], &late].concat());
    broker.serving().await;
    put(&tenant, "s", "u").await;
    let (index, row) = (
        format!("{P}user:upstream:u"),
        format!("{P}upstream:others:okta"),
    );
    assert_kept(tenant.pttl(&index).await, 60_000);
    let mut command = program();
    command.args(["migrate", "--begin-grace"]);
    command.args(args).arg("ns:name");
    let done = output(command).await;
    let report = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{report}");
    assert!(report.contains("Grace period: open"), "{report}");
    assert!(tenant.exists(GRACE).await);
    assert_eq!(tenant.pttl(&index).await, -1);

    // The broker's own row ends, and the index stays.
    tenant
        .cmd::<()>("PEXPIRE", &[&format!("{P}upstream:s:okta"), "1"])
        .await;
    tenant.set(&row, &old_json("okta", "u", "others")).await;
    tenant.add(&format!("{P}upstream:idx:others"), &row).await;
    tenant.add(&index, &row).await;
    put(&tenant, "s2", "u").await;
    assert_eq!(tenant.pttl(&index).await, -1);
    let user_id = "u".to_owned();
    let request = v1::DeleteUserRequest { user_id };
    broker.client().await.delete_user(request).await.unwrap();
    assert_eq!(get(&broker, "others").await.0, Code::NotFound);

    // The running broker looks twice a second. From then on the period outlives a Redis that comes back empty.
    let before = looks(&tenant).await;
    until("the broker has looked", async || {
        looks(&tenant).await > before + 1
    })
    .await;
    tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
    begins_again(&tenant).await;
    finish(&tenant).await;
    assert!(!tenant.exists(GRACE).await);
}
