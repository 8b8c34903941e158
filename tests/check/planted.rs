//! Tests each damage by itself.

use token_broker::store::redis::maintenance::check::FindingKind;

use crate::{damage::DAMAGES, found, look, repair, rows, tenant};

/// The check finds the damage by kind, key and index, and nothing else. Without `--repair` it
/// changes nothing. A repair mends the damage if it can, and changes no row. After that there is
/// nothing to find.
#[tokio::test]
async fn each_damage_is_found_and_mended() {
    for damage in DAMAGES {
        let (tenant, name) = (tenant(), damage.name);
        damage.plant(&tenant).await;
        let (kind, key, index) = damage.due(&tenant);
        let due = (kind, key.as_str(), index.as_deref());

        let before = tenant.snapshot();
        let report = look(&tenant).await;
        assert_eq!(found(&report), [due], "{name}");
        assert!(
            tenant.snapshot() == before,
            "{name}: looking changed something"
        );
        assert_eq!((report.mended(), report.looked_again), (0, 0), "{name}");

        let mended = kind.remedy().is_none();
        let repaired = repair(&tenant).await;
        assert_eq!(found(&repaired), [due], "{name}");
        assert_eq!(repaired.mended(), u64::from(mended), "{name}");
        let prefix = tenant.prefix();
        let after = tenant.snapshot();
        assert!(
            rows(&after, &prefix) == rows(&before, &prefix),
            "{name}: a row changed"
        );

        let left = look(&tenant).await;
        if mended {
            assert_eq!(found(&left), [], "{name}");
            tenant.audit();
        } else {
            assert_eq!(found(&left), [due], "{name}");
            assert!(
                after == before,
                "{name}: what can't be mended is left alone"
            );
        }
    }
}

/// Every kind of damage is planted, and more than a dozen damages can be mended.
#[test]
fn every_kind_is_planted() {
    for kind in FindingKind::ALL {
        assert!(DAMAGES.iter().any(|damage| damage.kind == kind), "{kind:?}");
    }
    let mendable = DAMAGES
        .iter()
        .filter(|damage| damage.kind.remedy().is_none());
    assert!(mendable.count() >= 12);
}

/// A row in no index at all is missing in both.
#[tokio::test]
async fn an_orphan() {
    let tenant = tenant();
    let row = tenant.key("upstream:s:p");
    tenant.run::<()>(&[
        "SET",
        &row,
        r#"{"access_token":"x","user_id":"a b"}"#,
        "EX",
        "60",
    ]);
    let (session, user) = (
        tenant.key("upstream:idx:s"),
        tenant.key("user:upstream:a%20b"),
    );
    let due = [
        (
            FindingKind::MissingInSessionIndex,
            row.as_str(),
            Some(session.as_str()),
        ),
        (FindingKind::MissingInUserIndex, &row, Some(&user)),
    ];
    assert_eq!(found(&look(&tenant).await), due);
    assert_eq!(found(&repair(&tenant).await), due);
    tenant.audit();
    let snapshot = tenant.snapshot();
    for index in [session, user] {
        let (index, row) = (snapshot.life(&index).unwrap(), snapshot.life(&row).unwrap());
        assert!(
            index == row,
            "the index ends with its row: {index:?}, {row:?}"
        );
    }
}

/// Encoded ids in keys aren't damage. Neither are rows without a user, or without an expiry.
#[tokio::test]
async fn odd_ids_are_sound() {
    use testkit::rows::{bare, key, row};
    let tenant = tenant();
    let broker = tenant.broker();
    for id in [
        "idx", "a:b", "{x}", "50%", "a b", "\"", "\\", "日本", "%69dx", "é\u{1f}",
    ] {
        for provider in ["idx", "p:q", "ü%"] {
            let Ok(session) = token_broker::types::SessionId::new(id) else {
                continue;
            };
            let key = token_broker::types::RowKey {
                session,
                ..key("s", provider)
            };
            broker.put(&key, &row(key.session.as_str(), "at")).await;
        }
        broker
            .put(&key(&format!("bare{}", id.len()), "p"), &bare("at"))
            .await;
    }
    let report = look(&tenant).await;
    assert_eq!(found(&report), []);
    assert!(
        report.counts.rows >= 30 && report.counts.other_keys == 0,
        "{report}"
    );
}

/// An index with very many members is checked completely, and mended.
#[tokio::test]
async fn a_large_index() {
    let tenant = tenant();
    let index = tenant.key("user:upstream:u");
    let mut pipe = redis::pipe();
    for number in 0..3_000 {
        let row = tenant.key(&format!("upstream:s{number}:p"));
        if number % 3 == 0 {
            let user = if number % 2 == 0 { "u" } else { "v" };
            pipe.set(
                &row,
                format!(r#"{{"user_id":"{user}","access_token":"x"}}"#),
            );
            pipe.sadd(tenant.key(&format!("upstream:idx:s{number}")), &row);
            if user == "v" {
                pipe.sadd(tenant.key("user:upstream:v"), &row);
            }
        }
        pipe.sadd(&index, &row);
    }
    pipe.exec(&mut tenant.raw()).unwrap();
    for report in [look(&tenant).await, repair(&tenant).await] {
        assert_eq!(report.found[&FindingKind::RowOfAnotherUser].found, 500);
        assert_eq!(report.found[&FindingKind::DanglingMember].found, 2_000);
        assert_eq!(report.found.len(), 2, "{report}");
        assert_eq!(report.leftovers.len(), 1_000, "the list is bounded");
        assert_eq!(report.not_listed, 1_000);
    }
    assert_eq!(tenant.run::<u64>(&["SCARD", &index]), 500);
    assert_eq!(found(&look(&tenant).await), []);
    tenant.audit();
}
