//! Tests the report that the operator reads.

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};
use token_broker::store::redis::maintenance::{check::Check, progress::Silent};

use crate::{damage::DAMAGES, look, repair, tenant};

#[tokio::test]
async fn the_report_of_a_sound_tenant_is_short() {
    let tenant = tenant();
    tenant.broker().put(&key("s", "p"), &row("u", "at")).await;
    let report = look(&tenant).await.to_string();
    let lines: Vec<_> = report.lines().collect();
    assert!(
        lines[0].starts_with("Checked 4 keys in ") && lines[0].ends_with("and changed nothing")
    );
    let rest = [
        "  1 rows",
        "  1 indexes of sessions",
        "  1 indexes of users",
        "  2 members of indexes and sets",
        "  1 records of the brokers' own",
        "Damage: none",
    ];
    assert_eq!(lines[1..], rest);
}

/// A Redis that may evict keys breaks what the check verifies, sooner or later.
#[tokio::test]
async fn a_redis_that_may_evict_is_named() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "volatile-lru"]);
    let report = look(&RedisTenant::on(&server)).await;
    assert_eq!(report.eviction.as_deref(), Some("volatile-lru"));
    let text = report.to_string();
    let line = text.lines().find(|line| line.starts_with("Eviction: "));
    assert!(
        line.is_some_and(|line| line.contains("volatile-lru")),
        "{text}"
    );
}

#[tokio::test]
async fn every_damage_is_named_and_every_line_says_what_to_do() {
    let tenant = tenant();
    for damage in DAMAGES {
        damage.plant(&tenant).await;
    }
    let report = look(&tenant).await;
    let text = report.to_string();
    for damage in DAMAGES {
        let (kind, key, index) = damage.due(&tenant);
        let line = text.lines().find(|line| {
            let line = line.trim();
            line.starts_with(&key) && index.as_ref().is_none_or(|index| line.ends_with(index))
        });
        assert!(line.is_some(), "{}: {text}", damage.name);
        let head = format!("  {} ({}): ", kind.name(), kind.invariant());
        let at = text
            .lines()
            .position(|line| line.starts_with(&head))
            .unwrap();
        let remedy = kind.remedy().unwrap_or("--repair mends it");
        let meaning = text.lines().nth(at + 1).unwrap();
        assert!(meaning.ends_with(remedy), "{meaning}");
    }
    assert!(text.contains("Left over: 7 (no damage"), "{text}");
    let text = repair(&tenant).await.to_string();
    assert!(
        text.contains("Damage: 43, of which 13 not mended"),
        "{text}"
    );
    assert!(text.contains("; mended\n"));
}

/// The JSON report has the same findings, with the same names of the kinds as the text.
#[tokio::test]
async fn json_names_kind_key_and_index() {
    let tenant = tenant();
    for damage in DAMAGES {
        damage.plant(&tenant).await;
    }
    let json = serde_json::to_value(look(&tenant).await).unwrap();
    for damage in DAMAGES {
        let (kind, key, index) = damage.due(&tenant);
        let all = ["damage", "leftovers"].map(|list| json[list].as_array().unwrap().clone());
        let is = |found: &serde_json::Value| {
            found["kind"] == kind.name()
                && found["key"] == key
                && found["index"].as_str() == index.as_deref()
                && found["mended"] == false
        };
        assert!(all.concat().iter().any(is), "{}: {json}", damage.name);
        assert!(json["found"][kind.name()]["found"].as_u64() >= Some(1));
    }
}

/// However much is damaged, a report lists no more than the given number, and counts everything.
#[tokio::test]
async fn a_list_is_bounded() {
    let tenant = tenant();
    for number in 0..20 {
        let member = format!("foreign{number}");
        tenant.run::<()>(&["SADD", &tenant.key("user:upstream:u"), &member]);
    }
    let check = Check::new(&tenant.store()).listing(3);
    let report = check.run(&Silent).await.unwrap();
    assert_eq!((report.damage.len(), report.not_listed), (3, 17));
    assert_eq!(report.damaged(), 20);
    assert!(report.to_string().contains("    and 17 more"), "{report}");
}

/// A backup from before the migration is sound, and no call finds what is in it.
#[tokio::test]
async fn rows_of_the_older_layout_without_a_migration_are_told_of() {
    let server = RedisServer::start();
    let tenant = RedisTenant::called("prod:auth", &server);
    let older = r#"{"provider_id":"oidc","access_token":"at"}"#;
    tenant.run::<()>(&["SET", &tenant.key("upstream:s"), older]);
    let report = look(&tenant).await;
    assert_eq!((report.is_migrated, report.unmigrated()), (false, 1));
    let text = report.to_string();
    let told = "until then no call finds the 1 rows of the older layout";
    assert!(
        text.contains("Migration: no broker has noted one") && text.contains(told),
        "{text}"
    );
    // The migration takes a row that an old replica writes later.
    let migrated = tenant.migrated();
    let report = look(&migrated).await;
    assert_eq!((report.is_migrated, report.unmigrated()), (true, 0));
    assert!(!report.to_string().contains("Migration"));
}
