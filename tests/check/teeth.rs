//! Tests that the other tests notice faults.

use redis::Commands;
use testkit::{audit, redis_tenant::RedisTenant, waiting::until};

use crate::{damage::DAMAGES, load::Load, look, tenant};

/// A check that reads the rows first and their indexes afterwards reports damage under load that isn't there. The
/// real check, on the same data at the same time, reports none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_in_two_steps_tells_of_damage_that_is_not_there() {
    let tenant = tenant();
    let load = Load::start(&tenant, 4, 20);
    until("there are rows", async || load.calls() > 100).await;
    until("the naive check errs", async || {
        let naive = tenant.clone();
        let told = tokio::task::spawn_blocking(move || naive_findings(&naive)).await;
        let report = look(&tenant).await;
        assert_eq!(report.damage, [], "{report}");
        told.unwrap() > 0
    })
    .await;
    load.stop().await;
    // A row that ends between the two steps would be missing, too.
    until("no row is about to end", async || {
        let brief = tenant.key("upstream:s*:r");
        tenant.run::<Vec<String>>(&["KEYS", &brief]).is_empty()
    })
    .await;
    assert_eq!(
        naive_findings(&tenant),
        0,
        "it errs for the load's sake only"
    );
    tenant.audit();
}

/// Returns how many rows are missing in the index of their user or session, if the two are read one after the
/// other.
fn naive_findings(tenant: &RedisTenant) -> usize {
    let mut raw = tenant.raw();
    let rows = tenant.key("upstream:s*");
    let mut missing = 0;
    for key in raw.keys::<_, Vec<String>>(rows).unwrap() {
        let Some(text) = raw.get::<_, Option<String>>(&key).unwrap() else {
            continue;
        };
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let session = key.rsplit(':').nth(1).unwrap();
        let user = json["user_id"].as_str().unwrap_or_default();
        for (index, is_due) in [
            (format!("upstream:idx:{session}"), true),
            (format!("user:upstream:{user}"), !user.is_empty()),
        ] {
            let is: bool = raw.sismember(tenant.key(&index), &key).unwrap();
            missing += usize::from(is_due && !is);
        }
    }
    missing
}

/// The audit, which other tests use to confirm repairs, sees each unmended damage that breaks I1. It shares no code
/// with the check.
#[tokio::test]
async fn the_audit_notices_what_is_not_mended() {
    use token_broker::store::redis::maintenance::check::FindingKind;
    let mut noticed = 0;
    for damage in DAMAGES {
        if !matches!(
            damage.kind,
            FindingKind::MissingInSessionIndex
                | FindingKind::MissingInUserIndex
                | FindingKind::SessionIndexEndsEarly
                | FindingKind::UserIndexEndsEarly
                | FindingKind::RowOfAnotherSession
        ) {
            continue;
        }
        let tenant = tenant();
        damage.plant(&tenant).await;
        let wrong = audit::violations(&tenant.snapshot(), &tenant.prefix());
        assert_eq!(wrong.len(), 1, "{}: {wrong:?}", damage.name);
        noticed += 1;
    }
    assert_eq!(noticed, 8);
}
