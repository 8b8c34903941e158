//! Tests that a snapshot shows everything, and that two different snapshots differ.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::{
    launch::{Launch, Program},
    redis_tenant::RedisTenant,
    rows::*,
    snapshot::{Content, Life},
};

use crate::tenant;

#[tokio::test]
async fn a_snapshot_shows_every_kind_of_value() {
    let tenant = tenant();
    let key = |rest: &str| tenant.key(rest);
    assert_eq!(tenant.snapshot().names(), [""; 0]);
    tenant.run::<()>(&["SET", &key("text"), "some"]);
    tenant.run::<()>(&["SADD", &key("set"), "b", "a"]);
    tenant.run::<()>(&["RPUSH", &key("list"), "x"]);
    tenant.run::<()>(&["SET", &tenant.another().key("text"), "theirs"]);

    let snapshot = tenant.snapshot();
    assert_eq!(snapshot.names(), [key("list"), key("set"), key("text")]);
    assert_eq!(snapshot.text(&key("text")), Some("some"));
    assert!(snapshot.holds(&key("set"), "a") && !snapshot.holds(&key("set"), "c"));
    assert!(snapshot.members(&key("set")).iter().eq(["a", "b"]));
    assert!(matches!(snapshot[&*key("list")].content, Content::Other(_)));
    assert_eq!(snapshot.life(&key("text")), Some(Life::Endless));
    assert_eq!(snapshot.life(&key("none")), None);
}

/// Each of these commands changes the snapshot, and nothing else does.
#[tokio::test]
async fn each_change_is_seen() {
    let tenant = tenant();
    let key = |rest: &str| tenant.key(rest);
    tenant.run::<()>(&["SET", &key("text"), "some", "EX", "60"]);
    tenant.run::<()>(&["SADD", &key("set"), "a"]);
    tenant.run::<()>(&["RPUSH", &key("list"), "x"]);
    let mut before = tenant.snapshot();
    assert_eq!(tenant.snapshot(), before, "nothing has changed");
    for change in [
        vec!["SET", &key("text"), "other", "KEEPTTL"],
        vec!["PEXPIRE", &key("text"), "90000"],
        vec!["PERSIST", &key("text")],
        vec!["SADD", &key("set"), "b"],
        vec!["SREM", &key("set"), "a"],
        vec!["RPUSH", &key("list"), "y"],
        vec!["DEL", &key("list")],
        vec!["SET", &key("new"), ""],
    ] {
        tenant.run::<redis::Value>(&change);
        let after = tenant.snapshot();
        assert_ne!(after, before, "not seen: {change:?}");
        before = after;
    }
}

/// The oldest Redis doesn't return the exact time at which a key expires.
#[tokio::test]
async fn ends_are_exact_to_two_milliseconds() {
    for program in [Program::Usual, Program::Oldest, Program::Valkey] {
        let server = Launch::new(program).start();
        let tenant = RedisTenant::on(&server);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let end = u64::try_from(now.as_millis()).unwrap() + 60_000;
        for number in 0..200 {
            let key = tenant.key(&number.to_string());
            tenant.run::<()>(&["SET", &key, "x"]);
            tenant.run::<()>(&["PEXPIREAT", &key, &(end + number).to_string()]);
        }
        for _ in 0..20 {
            let snapshot = tenant.snapshot();
            for number in 0..200 {
                let life = snapshot.life(&tenant.key(&number.to_string()));
                assert_eq!(life, Some(Life::Until(end + number)), "{program:?}");
            }
        }
    }
}

#[test]
fn a_life_covers_another_that_ends_no_later() {
    let [soon, later] = [Life::Until(1_000), Life::Until(1_003)];
    assert!(later.covers(soon) && !soon.covers(later));
    assert!(Life::Endless.covers(later) && !later.covers(Life::Endless));
    assert_ne!(soon, later);
    assert_eq!(soon, Life::Until(1_002), "as exact as Redis 6.2 tells it");
    assert_eq!(Life::Endless, Life::Endless);
    assert_eq!(Life::Endless.left(), None);
    assert_eq!(soon.left(), Some(0));
}

#[tokio::test]
#[should_panic(expected = "upstream:idx:s")]
async fn what_is_gone_isnt_still_held() {
    let tenant = tenant();
    let broker = tenant.broker();
    broker
        .put_for(&key("s", "p"), &row("u", "at"), Duration::from_secs(60))
        .await;
    let before = tenant.snapshot();
    before.assert_still_holds(&before);
    broker.remove(&key("s", "p")).await;
    tenant.snapshot().assert_still_holds(&before);
}
