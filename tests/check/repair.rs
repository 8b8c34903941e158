//! Tests repairs while other clients write.

use testkit::{
    snapshot::{Life, Snapshot},
    waiting::until,
};

use crate::{damage::DAMAGES, found, load::Load, look, repair, rows, tenant};

/// Plants all damages, some of them while a repair runs. Everything that can be mended is, and no row changes that
/// the writers leave alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_damages_are_mended_under_load() {
    let tenant = tenant();
    let load = Load::start(&tenant, 4, 100);
    until("there is a load", async || load.calls() > 500).await;
    let (first, later) = DAMAGES.split_at(DAMAGES.len() / 2);
    for damage in first {
        damage.plant(&tenant).await;
    }
    let planter = tokio::spawn({
        let tenant = tenant.clone();
        async move {
            for damage in later {
                damage.plant(&tenant).await;
            }
        }
    });
    let mut reports = vec![repair(&tenant).await];
    planter.await.unwrap();
    let planted = planted_rows(&tenant.snapshot(), &tenant.prefix());
    reports.push(repair(&tenant).await);
    let looked = look(&tenant).await;
    let calls = load.stop().await;
    assert!(calls > 1_000, "{calls} calls are no load");

    for damage in DAMAGES {
        let (kind, key, index) = damage.due(&tenant);
        let due = (kind, key.as_str(), index.as_deref());
        let told = reports.iter().any(|report| found(report).contains(&due));
        assert!(told, "{} was never reported", damage.name);
        let left = kind.remedy().is_some();
        assert_eq!(found(&looked).contains(&due), left, "{}", damage.name);
    }
    // Nothing else was reported. In particular, nothing was reported about the sessions of the load.
    for report in reports.iter().chain([&looked]) {
        for finding in &report.damage {
            let due = DAMAGES.iter().map(|damage| damage.due(&tenant));
            let mut is =
                due.map(|due| due == (finding.kind, finding.key.clone(), finding.index.clone()));
            assert!(is.any(|is| is), "{finding:?}");
        }
    }
    assert!(planted_rows(&tenant.snapshot(), &tenant.prefix()) == planted);
    tenant.audit();
}

/// Returns the rows that no writer touches, with their expiries.
fn planted_rows(snapshot: &Snapshot, prefix: &str) -> Snapshot {
    let mut rows = rows(snapshot, prefix);
    rows.0.retain(|key, _| {
        let name = &key[prefix.len() + "upstream:".len()..];
        !(name[0] == b's' && name[1].is_ascii_digit())
    });
    assert!(rows.0.len() >= 6 * DAMAGES.len() - 2);
    rows
}

/// A repair never makes an index expire earlier, and an index without an expiry gets none.
#[tokio::test]
async fn no_end_becomes_earlier() {
    let tenant = tenant();
    for damage in DAMAGES {
        damage.plant(&tenant).await;
    }
    let before = tenant.snapshot();
    repair(&tenant).await;
    let after = tenant.snapshot();
    let mut later = 0;
    for key in before.names() {
        let (was, Some(is)) = (before.life(&key).unwrap(), after.life(&key)) else {
            let emptied = [
                "user:providers:",
                "broker:pending:place-at-another-client",
                "broker:pending:places-of-another-type",
                "broker:pending-bytes:sizes-of-another-type",
            ];
            let was_emptied =
                key.ends_with("gone") || emptied.iter().any(|part| key.contains(part));
            assert!(was_emptied, "{key} is gone");
            continue;
        };
        let endless = ["authorization-without-endx", "taken-without-endy"];
        if endless.iter().any(|name| key.ends_with(name)) {
            assert!(
                matches!((was, is), (Life::Endless, Life::Until(_))),
                "{key}"
            );
            continue;
        }
        assert!(is.covers(was), "{key} ended {was:?}, ends {is:?}");
        later += usize::from(is != was);
    }
    assert_eq!(later, 5, "the indexes that ended too early");
}

/// Tests both sides of the rule about users' indexes: a mended index has no expiry in the grace period, and has one
/// after it.
#[tokio::test]
async fn the_grace_period_decides_whether_a_users_index_has_an_end() {
    for grace in [true, false] {
        let tenant = tenant();
        if grace {
            tenant.run::<()>(&["SET", &tenant.key("broker:grace"), "1"]);
        }
        let row = tenant.key("upstream:s:p");
        tenant.run::<()>(&[
            "SET",
            &row,
            r#"{"access_token":"x","user_id":"u"}"#,
            "EX",
            "600",
        ]);
        tenant.run::<()>(&["SADD", &tenant.key("user:upstream:u"), &row]);
        tenant.run::<()>(&["EXPIRE", &tenant.key("user:upstream:u"), "60"]);
        let report = repair(&tenant).await;
        assert_eq!(report.grace_period, grace);
        let life = tenant
            .snapshot()
            .life(&tenant.key("user:upstream:u"))
            .unwrap();
        assert_eq!(matches!(life, Life::Endless), grace);
        assert_eq!(found(&look(&tenant).await), []);
        tenant.audit();
    }
}
