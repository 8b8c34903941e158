//! Tests that the audit, which the suites rely on, notices violations.

use std::time::Duration;

use testkit::{audit::violations, redis_tenant::RedisTenant, rows::*};

use crate::tenant;

async fn found(break_it: impl FnOnce(&RedisTenant)) -> String {
    let tenant = tenant();
    let broker = tenant.broker();
    for session in ["s", "t"] {
        broker.put(&key(session, "p"), &row("u", "at")).await;
    }
    let before = violations(&tenant.snapshot(), &tenant.prefix());
    assert!(before.is_empty(), "{before:?}");
    break_it(&tenant);
    violations(&tenant.snapshot(), &tenant.prefix()).join("\n")
}

#[tokio::test]
async fn a_row_that_is_in_no_session_or_at_no_user() {
    for index in ["upstream:idx:s", "user:upstream:u"] {
        let found = found(|tenant| {
            tenant.run::<()>(&["SREM", &tenant.key(index), &tenant.key("upstream:s:p")]);
        });
        assert!(found.await.contains("is missing in"));
    }
}

#[tokio::test]
async fn an_index_that_ends_before_its_row() {
    for index in ["upstream:idx:s", "user:upstream:u"] {
        let shorter = found(|tenant| tenant.run::<()>(&["EXPIRE", &tenant.key(index), "60"]));
        assert!(shorter.await.contains("ends before"));
        let endless = found(|tenant| tenant.run::<()>(&["PERSIST", &tenant.key("upstream:s:p")]));
        assert!(endless.await.contains("ends before"));
    }
}

#[tokio::test]
async fn dead_members_and_rows_of_other_sessions() {
    let dead = found(|tenant| {
        for number in 0..40 {
            let member = tenant.key(&format!("upstream:gone{number}:p"));
            tenant.run::<()>(&["SADD", &tenant.key("user:upstream:u"), &member]);
        }
    });
    assert!(dead.await.contains("I5"));
    let strange = found(|tenant| {
        let row = tenant.key("upstream:t:p");
        tenant.run::<()>(&["SADD", &tenant.key("upstream:idx:s"), &row]);
    });
    assert!(strange.await.contains("another session"));
}

#[tokio::test]
async fn an_index_that_is_gone() {
    let tenant = tenant();
    let broker = tenant.broker();
    broker
        .put_for(&key("s", "p"), &row("u", "at"), Duration::from_secs(60))
        .await;
    tenant.run::<()>(&["DEL", &tenant.key("upstream:idx:s")]);
    assert_eq!(violations(&tenant.snapshot(), &tenant.prefix()).len(), 1);
}
