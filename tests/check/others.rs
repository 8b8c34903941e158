//! Tests what other software leaves behind, and what rows leave behind when they expire.

use std::time::Duration;

use testkit::{rows::*, waiting::until};
use token_broker::store::redis::maintenance::check::FindingKind;

use crate::{found, look, repair, tenant};

/// The grace period: there are older rows, users' indexes without an expiry and with dead members, `null` rows,
/// identities that are gone without their index members, ids that are spelled plainly, and other keys of an auth
/// server.
#[tokio::test]
async fn what_an_auth_server_writes_is_no_damage() {
    let tenant = tenant();
    tenant.run::<()>(&["SET", &tenant.key("broker:grace"), "1"]);
    let commands = "
        SET @upstream:old {\"provider_id\":\"oidc\",\"user_id\":\"u\"} EX 600
        SADD @user:upstream:u @upstream:old @upstream:dead-old
        SET @upstream:s:p {\"provider_id\":\"p\",\"access_token\":\"x\",\"user_id\":\"u\"} EX 600
        SADD @upstream:idx:s @upstream:s:p
        EXPIRE @upstream:idx:s 600
        SADD @user:upstream:u @upstream:s:p @upstream:dead:p
        SET @upstream:n:p null EX 600
        SADD @upstream:idx:n @upstream:n:p
        SET @upstream:orphan:p null EX 600
        SADD @upstream:idx:deleted @upstream:deleted:p
        SET @user:u {\"id\":\"u\"}
        SET @provider:4:oidc:sub {\"user_id\":\"u\",\"provider_id\":\"oidc\"}
        SADD @user:providers:u @provider:4:oidc:sub @provider:4:oidc:unlinked
        SET @access:x {} EX 600
        SET @client:x {}
        SADD @reqid:access:x y
        SET @pending:x {} EX 600";
    for command in commands.trim().lines() {
        let words: Vec<String> = command
            .split_whitespace()
            .map(|word| word.replace('@', &tenant.prefix()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        tenant.run::<redis::Value>(&words);
    }
    let before = tenant.snapshot();
    let report = look(&tenant).await;
    assert_eq!(report.damage, [], "{report}");
    assert!(report.grace_period);
    let counts = report.counts;
    assert_eq!(
        (counts.rows, counts.legacy_rows, counts.null_rows),
        (1, 1, 2)
    );
    assert!(tenant.snapshot() == before);

    // A repair removes leftovers, and no live row loses its place in an index.
    let swept = repair(&tenant).await;
    assert_eq!((swept.damaged(), swept.mended()), (0, 4), "{swept}");
    let after = tenant.snapshot();
    let members = after.members(&tenant.key("user:upstream:u"));
    assert_eq!(members.len(), 2, "the older row and the row: {members:?}");
    assert_eq!(after.members(&tenant.key("user:providers:u")).len(), 1);
    assert_eq!(after.names().len(), before.names().len() - 1);
    assert_eq!(found(&look(&tenant).await), []);
}

/// Other software spells a user's id plainly. The broker doesn't use that user's index, but its rows are right to
/// be in it.
#[tokio::test]
async fn a_plainly_spelled_user() {
    let tenant = tenant();
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("a:b", "at")).await;
    let row = tenant.key("upstream:s:p");
    tenant.run::<()>(&["SADD", &tenant.key("user:upstream:a:b"), &row]);
    assert_eq!(found(&look(&tenant).await), []);
    tenant.run::<()>(&["SADD", &tenant.key("user:upstream:a:c"), &row]);
    let index = tenant.key("user:upstream:a:c");
    let due = (FindingKind::RowOfAnotherUser, &*row, Some(&*index));
    assert_eq!(found(&look(&tenant).await), [due]);
}

/// Other software doesn't encode ids. Its rows are none of the broker's, and a repair leaves them in its indexes.
#[tokio::test]
async fn rows_that_other_software_spells_in_its_own_way_stay_where_they_are() {
    let tenant = tenant();
    let odd = [
        "a:b", "a:b:c", "50%", "%61", "x y", "{z}", "a\u{1f}b", ":", "s",
    ];
    for session in odd {
        for provider in ["p q", "p:q", "%"] {
            let row = tenant.key(&format!("upstream:{session}:{provider}"));
            let json = r#"{"provider_id":"p","access_token":"x","user_id":"u:1"}"#;
            tenant.run::<()>(&["SET", &row, json]);
            for index in ["user:upstream:u:1", "user:upstream:u%3A1"] {
                tenant.run::<()>(&["SADD", &tenant.key(index), &row]);
            }
            let index = tenant.key(&format!("upstream:idx:{session}"));
            tenant.run::<()>(&["SADD", &index, &row]);
        }
    }
    let null = tenant.key("upstream:n:u:l");
    tenant.run::<()>(&["SET", &null, "null"]);
    tenant.run::<()>(&["SADD", &tenant.key("upstream:idx:n"), &null]);
    let before = tenant.snapshot();
    for report in [look(&tenant).await, repair(&tenant).await] {
        assert_eq!(found(&report), [], "{report}");
        assert!(report.counts.others_rows > 2 * 24, "{report}");
    }
    assert!(tenant.snapshot() == before);

    // What is gone is gone, whoever wrote it. What is another session's or user's is that, too.
    tenant.run::<()>(&["DEL", &null]);
    let (session, user) = (tenant.key("upstream:idx:s"), tenant.key("user:upstream:v"));
    let row = tenant.key("upstream:a:b:p q");
    for index in [&session, &user] {
        tenant.run::<()>(&["SADD", index, &row]);
    }
    let report = repair(&tenant).await;
    let index = tenant.key("upstream:idx:n");
    assert_eq!(
        found(&report),
        [
            (FindingKind::RowOfAnotherSession, &*row, Some(&*session)),
            (FindingKind::RowOfAnotherUser, &row, Some(&user)),
            (FindingKind::IndexWithoutRows, &index, None),
        ]
    );
    assert_eq!(report.mended(), 3);
    assert_eq!(found(&look(&tenant).await), []);
}

/// Expired rows leave members behind. The report counts them, but not as damage.
#[tokio::test]
async fn rows_that_expired() {
    let tenant = tenant();
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    let short = Duration::from_millis(20);
    broker.put_for(&key("s", "q"), &row("u", "at"), short).await;
    until("the row has expired", async || {
        broker.read(&key("s", "q")).await.is_none()
    })
    .await;
    let report = look(&tenant).await;
    assert_eq!((report.damaged(), report.unmended()), (0, 0));
    assert_eq!(report.found[&FindingKind::DanglingMember].found, 2);
    repair(&tenant).await;
    assert_eq!(found(&look(&tenant).await), []);
}

/// A row expires and is then stored again for another user. The first user's index still has it. The broker checks
/// the user of each row that it reads. Other software may not, so this counts as damage.
#[tokio::test]
async fn a_row_that_expired_and_is_anothers_now() {
    let tenant = tenant();
    let broker = tenant.broker();
    broker.put(&key("t", "p"), &row("u", "at")).await;
    let short = Duration::from_millis(20);
    broker.put_for(&key("s", "p"), &row("u", "at"), short).await;
    until("the row has expired", async || {
        broker.read(&key("s", "p")).await.is_none()
    })
    .await;
    broker.put(&key("s", "p"), &row("v", "at")).await;
    let (index, row) = (tenant.key("user:upstream:u"), tenant.key("upstream:s:p"));
    let due = (FindingKind::RowOfAnotherUser, &*row, Some(&*index));
    assert_eq!(found(&repair(&tenant).await), [due]);
    assert_eq!(broker.delete_user(&user("u")).await.unwrap().rows, 1);
    assert!(broker.read(&key("s", "p")).await.is_some());
}

/// A check ignores other tenants' keys and those of other software.
#[tokio::test]
async fn other_tenants_are_left_alone() {
    let tenant = tenant();
    let other = tenant.another();
    other.run::<()>(&["SET", &other.key("upstream:s:p"), r#"{"user_id":"u"}"#]);
    other.run::<()>(&["SADD", &other.key("upstream:idx:t"), "x"]);
    let (index, row) = (tenant.key("user:upstream:u"), other.key("upstream:s:p"));
    tenant.run::<()>(&["SADD", &index, &row]);
    let before = other.snapshot();
    let report = repair(&tenant).await;
    assert_eq!(
        found(&report),
        [(FindingKind::ForeignMember, &*row, Some(&*index))]
    );
    assert_eq!(report.counts.keys - report.counts.records, 1);
    assert!(other.snapshot() == before);
    assert_eq!(tenant.snapshot().names().len(), 0);
}

/// A Redis Cluster checks the slot of each command.
#[tokio::test]
async fn on_a_cluster_no_call_crosses_slots() {
    use crate::damage::DAMAGES;
    use testkit::redis_tenant::RedisTenant;
    let server = testkit::redis_server::RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("ADDSLOTS").arg((0..16_384).collect::<Vec<u32>>());
    slots.exec(&mut server.raw()).unwrap();
    until("the cluster is up", async || {
        let info = redis::cmd("CLUSTER")
            .arg("INFO")
            .query::<String>(&mut server.raw());
        info.unwrap().contains("cluster_state:ok")
    })
    .await;
    let tenant = RedisTenant::on_cluster(&server);
    for damage in DAMAGES {
        damage.plant(&tenant).await;
    }
    assert_eq!(found(&repair(&tenant).await).len(), DAMAGES.len());
    let left = look(&tenant).await;
    assert!(
        left.damage
            .iter()
            .all(|finding| finding.kind.remedy().is_some()),
        "{left}"
    );
}
