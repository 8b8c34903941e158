//! M8: a dry run changes nothing and reports exactly what a run would do. A waiting operator sees the progress.

use std::sync::Mutex;

use token_broker::store::redis::maintenance::migration::{
    Report,
    progress::{MigrationProgress, Progress, Silent},
};

use crate::{
    old_tenant::{OldTenant, P, old_json},
    seed::{MAPPING, seed},
};

/// Plants rows and identities with every possible outcome.
async fn everything(tenant: &OldTenant) {
    tenant
        .old_row("again", &old_json("oidc", "u", "1"), "u", None)
        .await;
    tenant.migrate(&["oidc=okta"]).await;
    tenant
        .old_row("again", &old_json("oidc", "u", "2"), "u", None)
        .await;
    seed(tenant).await;
    tenant
        .old_row("logical", &old_json("github", "u", "3"), "u", None)
        .await;
    tenant.old_row("null", "null", "", None).await;
    tenant.old_row("corrupt", "{", "", None).await;
    tenant
        .old_row("empty", &old_json("", "u", "4"), "u", None)
        .await;
    tenant
        .old_row("dropped", &old_json("oidc", "u", "5"), "u", None)
        .await;
    tenant
        .set(&format!("{P}upstream:dropped:okta"), r#"{"user_id":"u"}"#)
        .await;
    tenant
        .old_row("type", &old_json("oidc", "u", "6"), "u", None)
        .await;
    tenant.set(&format!("{P}upstream:idx:type"), "no set").await;
    tenant.add(&format!("{P}upstream:set"), "x").await;
    tenant
        .set(&format!("{P}provider:4:oidc:present"), r#"{"user_id":"u"}"#)
        .await;
    tenant
        .set(&format!("{P}provider:4:okta:present"), r#"{"user_id":"u"}"#)
        .await;
    tenant
        .set(&format!("{P}provider:4:oidc:taken"), r#"{"user_id":"u"}"#)
        .await;
    tenant
        .set(&format!("{P}provider:4:okta:taken"), r#"{"user_id":"v"}"#)
        .await;
    tenant
        .set(&format!("{P}provider:4:oidc:corrupt"), "7")
        .await;
}

fn as_of_a_run(report: Report) -> Report {
    Report {
        dry_run: false,
        ..report
    }
}

#[tokio::test]
async fn m8_a_dry_run_changes_nothing_and_reports_what_a_run_does() {
    let tenant = OldTenant::new().await;
    everything(&tenant).await;
    let before = tenant.snapshot_of_all();
    let dry = tenant.migration(MAPPING).dry_run(&Silent).await.unwrap();
    assert_eq!(tenant.snapshot_of_all(), before);
    assert!(dry.dry_run && dry.to_string().contains("nothing was changed"));

    let run = tenant.migrate(MAPPING).await;
    assert_eq!(as_of_a_run(dry), run);
    let rows = run.rows;
    let counts = [
        rows.migrated,
        rows.superseded,
        rows.dropped,
        rows.null,
        rows.left_alone,
        rows.failed,
    ];
    assert_eq!(counts, [6, 1, 1, 1, 1, 4]);
    let of = run.identities;
    assert_eq!(
        [of.migrated, of.present, of.left_alone, of.failed],
        [2, 1, 1, 1]
    );
}

#[tokio::test]
async fn m8_a_dry_run_on_a_tenant_that_no_broker_has_seen() {
    for mapping in [&[][..], &["oidc=okta"]] {
        let tenant = OldTenant::new().await;
        let empty = tenant.migration(mapping).dry_run(&Silent).await.unwrap();
        assert!(tenant.snapshot_of_all().0.is_empty());
        assert_eq!(empty.grace_period, !mapping.is_empty());

        tenant.set(&format!("{P}user:u"), "{}").await;
        let before = tenant.snapshot_of_all();
        let dry = tenant.migration(mapping).dry_run(&Silent).await.unwrap();
        assert_eq!(tenant.snapshot_of_all(), before);
        assert!(dry.grace_period);
        assert_eq!(as_of_a_run(dry), tenant.migrate(mapping).await);
    }
}

/// Records the progress that it is given.
#[derive(Default)]
struct Told(Mutex<Vec<MigrationProgress>>);

impl Progress<MigrationProgress> for Told {
    fn update(&self, now: &MigrationProgress) {
        self.0.lock().unwrap().push(*now);
    }
}

#[tokio::test]
async fn m8_progress_is_told_and_ends_where_the_report_does() {
    let tenant = OldTenant::new().await;
    for n in 0..3_000 {
        let json = if n % 100 == 0 {
            "null".to_owned()
        } else {
            old_json("oidc", "u", "t")
        };
        tenant.old_row(&format!("s{n}"), &json, "u", None).await;
        // Keys of other tenants are part of the scan, but aren't counted.
        tenant.set(&format!("other:{n}"), "x").await;
    }
    tenant.old_row("bad", "{", "", None).await;
    let told = Told::default();
    let report = tenant.migration(&["oidc=okta"]).run(&told).await.unwrap();
    let told = told.0.into_inner().unwrap();
    assert!(told.len() > 5);
    for pair in told.windows(2) {
        assert!(
            pair[0].walked.scanned <= pair[1].walked.scanned
                && pair[0].migrated <= pair[1].migrated
        );
        assert!((0.0..=1.0).contains(&pair[0].walked.done));
    }
    let half = told.iter().find(|now| now.walked.done >= 0.5).unwrap();
    assert!((500..3_000).contains(&half.migrated), "{half:?}");
    let last = told.last().unwrap();
    assert!((last.walked.done - 1.0).abs() < f64::EPSILON);
    assert_eq!(last.migrated, report.rows.migrated);
    assert_eq!((last.migrated, last.skipped, last.failed), (2_970, 30, 1));
    assert!(last.walked.scanned >= 3_002, "{last}");
}
