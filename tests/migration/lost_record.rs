//! M7: Redis loses what the brokers noted there, because it came back empty, from an older backup, or with less after a
//! failover. Running brokers notice, and no absence counts as the end of the grace period.

use std::time::Duration;

use testkit::{broker_process::BrokerProcess, waiting::until};
use token_broker::{
    proto::v1,
    store::{Condition, Put, Store, redis::maintenance::migration::progress::Silent},
    types::{Row, UserId, Version},
};
use tonic::Code;

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
async fn put(tenant: &OldTenant, session: &str, user: &str) {
    let key = row_key(session, "okta");
    let row = Row {
        user_id: UserId::new(user).ok(),
        ..Row::default()
    };
    let put = Put {
        key: &key,
        row: &row,
        version: Version::random(),
        keep_for: Some(Duration::from_secs(60)),
        condition: Condition::Always,
        source: None,
        max_providers: 64,
    };
    tenant.store().put(put).await.unwrap();
}

/// Returns the code of a `Get`, and the access token that it gives.
async fn get(broker: &BrokerProcess, session: &str) -> (Code, String) {
    let request = v1::GetRequest {
        session_id: session.to_owned(),
        provider: "okta".to_owned(),
        ..Default::default()
    };
    match broker.client().await.get(request).await {
        Ok(answer) => {
            let tokens = answer.into_inner().entry.unwrap().tokens.unwrap();
            (Code::Ok, tokens.access_token)
        }
        Err(status) => (status.code(), String::new()),
    }
}

fn warnings(broker: &BrokerProcess) -> Vec<String> {
    let log = broker.log();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let warnings = lines.filter(|line: &serde_json::Value| line["level"] == "WARN");
    warnings
        .map(|line| line["fields"]["message"].as_str().unwrap().to_owned())
        .collect()
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
    tenant.migration(&[]).finish(false, &Silent).await.unwrap();
    put(&tenant, "s", "u").await;
    assert_kept(tenant.pttl(&index).await, 60_000);
}

#[tokio::test]
async fn m7_a_redis_that_comes_back_empty_is_in_its_grace_period_again() {
    let tenant = OldTenant::new().await;
    let broker = broker(&tenant, &["--legacy-provider", "oidc=okta"]);
    broker.serving().await;
    assert!(tenant.exists(GRACE).await);
    tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
    until("the grace period begins again", async || {
        tenant.exists(GRACE).await
    })
    .await;
    until("the migration is noted again", async || {
        tenant.exists(RECORD).await
    })
    .await;
    let told = warnings(&broker);
    assert!(
        told.iter()
            .any(|line| line.contains("record of the migration")),
        "{told:?}"
    );
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
    let migration = tenant.migration(&[]);
    migration.finish(false, &Silent).await.unwrap();
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
    tenant.cmd::<()>("FLUSHALL", &["SYNC"]).await;
    tenant.set(&format!("{P}access:signature"), "{}").await;
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
