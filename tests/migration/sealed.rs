//! M2 and M6 where the new key holds a sealed row: rows are sealed outside of the grace period only, and yet they can be there
//! while older rows are (the period was begun again, an older backup came back).

use testkit::{
    rows::{access_token, row},
    sealing,
};
use token_broker::{
    store::{
        Sealing,
        redis::maintenance::migration::{Migration, Report, progress::Silent},
    },
    tokens::Binding,
    types::Row,
};

use crate::old_tenant::{OldTenant, P, mapping_of, old_json, row_key, told};

const OLD: &str = "upstream:s";
const NEW: &str = "upstream:s:okta";

/// A tenant in which `k` has sealed a row, and then an older row of the same session comes back.
async fn a_sealed_row_and_an_older_one() -> OldTenant {
    let tenant = OldTenant::new().await;
    // Nothing is sealed before a migration is noted.
    let noted = r#"{"mapping":{},"completed_at":1,"number":1}"#;
    tenant.set(&format!("{P}broker:migration"), noted).await;
    let broker = tenant.sealed_broker(&["k"]);
    broker.put(&row_key("s", "okta"), &row("u", "sealed")).await;
    tenant
        .old_row("s", &old_json("oidc", "u", "older"), "u", None)
        .await;
    tenant
}

async fn migrate(tenant: &OldTenant, keys: &[&str]) -> Report {
    let sealing = sealing::sealing(tenant.name(), keys);
    run(tenant, sealing).await
}

async fn run(tenant: &OldTenant, sealing: Sealing) -> Report {
    let migration = || Migration::new(&tenant.store(), mapping_of(&["oidc=okta"]), sealing.clone());
    let foreseen = migration().dry_run(&Silent).await.unwrap();
    let report = migration().run(&Silent).await.unwrap();
    // M8
    assert_eq!(
        (told(&foreseen), &foreseen.failed),
        (told(&report), &report.failed)
    );
    report
}

async fn both(tenant: &OldTenant) -> [Option<String>; 2] {
    let of = async |name: &str| tenant.get(&format!("{P}{name}")).await;
    [of(OLD).await, of(NEW).await]
}

/// Writes the sealed row with a change in its text.
async fn edit(tenant: &OldTenant, from: &str, to: &str) {
    let [_, sealed] = both(tenant).await;
    let sealed = sealed.unwrap();
    let edited = sealed.replacen(from, to, 1);
    assert_ne!(edited, sealed, "nothing to edit");
    tenant.set(&format!("{P}{NEW}"), &edited).await;
}

async fn fails(tenant: &OldTenant, keys: &[&str], reason: &str) {
    let before = both(tenant).await;
    let report = migrate(tenant, keys).await;
    assert_eq!(told(&report), "rows failed 1");
    assert!(
        report.failed[0].reason.contains(reason),
        "{:?}",
        report.failed
    );
    assert_eq!(both(tenant).await, before, "something was dropped");
}

#[tokio::test]
async fn m2_a_sealed_row_that_opens_stays_and_the_older_one_is_dropped() {
    let tenant = a_sealed_row_and_an_older_one().await;
    let sealed = both(&tenant).await[1].clone();
    assert_eq!(
        told(&migrate(&tenant, &["new", "k"]).await),
        "rows dropped 1"
    );
    assert_eq!(both(&tenant).await, [None, sealed]);
}

/// The older row is then the only one with tokens.
#[tokio::test]
async fn m2_a_sealed_row_that_does_not_open_drops_nothing() {
    let tenant = a_sealed_row_and_an_older_one().await;
    edit(&tenant, "\"client_id\":\"", "\"client_id\":\"evil").await;
    fails(&tenant, &["k"], "its envelope doesn't open").await;
    edit(&tenant, "\"sealed\":\"1.", "\"sealed\":\"0.").await;
    fails(&tenant, &["k"], "no envelope of a form that is known").await;
    edit(&tenant, "\"access_token\":\"\"", "\"access_token\":\"x\"").await;
    fails(&tenant, &["k"], "half plain and half sealed").await;
}

/// It may be readable elsewhere, and it may be damaged. Who has the key can tell.
#[tokio::test]
async fn m2_a_sealed_row_whose_key_is_missing_drops_nothing_and_is_not_dropped() {
    let tenant = a_sealed_row_and_an_older_one().await;
    let lacking = format!("sealed with the key {}", sealing::key("k").id());
    for keys in [&["other"][..], &[]] {
        fails(&tenant, keys, &lacking).await;
    }
    assert_eq!(told(&migrate(&tenant, &["k"]).await), "rows dropped 1");
}

/// The mark says that a straggler may overwrite a row. Beside an envelope nothing vouches for it.
#[tokio::test]
async fn m2_a_mark_that_was_added_to_a_sealed_row_does_not_count() {
    let tenant = a_sealed_row_and_an_older_one().await;
    let at = row_key("s", "okta");
    let broker = tenant.sealed_broker(&["k"]);
    let version = broker.version(&at).await.unwrap().number();
    edit(
        &tenant,
        ",\"sealed\":",
        &format!(",\"migrated\":{version},\"sealed\":"),
    )
    .await;
    assert_eq!(told(&migrate(&tenant, &["k"]).await), "rows dropped 1");
    let stored = broker.get(&at, &Binding::default()).await.unwrap();
    assert_eq!(access_token(&stored.row), "sealed");
}

/// Whether plain rows are served is another question than which of two plain rows counts.
#[tokio::test]
async fn m2_plain_rows_are_judged_alike_where_all_have_to_be_sealed() {
    let tenant = OldTenant::new().await;
    let plain = Row {
        user_id: None,
        ..row("u", "plain")
    };
    tenant.broker().put(&row_key("s", "okta"), &plain).await;
    tenant
        .old_row("s", &old_json("oidc", "u", "older"), "u", None)
        .await;
    let strict = Sealing {
        require_sealed: true,
        ..sealing::sealing(tenant.name(), &["k"])
    };
    assert_eq!(told(&run(&tenant, strict).await), "rows dropped 1");
}
