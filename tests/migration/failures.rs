//! M6: data that can't be migrated is named and kept, and the broker refuses to start until an
//! operator deals with it.

use token_broker::store::redis::maintenance::migration::progress::Silent;

use crate::old_tenant::{OldTenant, P, old_json, told};

const OKTA: &[&str] = &["oidc=okta"];

/// Plants rows that can't be migrated, each for another reason.
async fn bad_rows(tenant: &OldTenant) -> Vec<String> {
    let newer_gone_bad = format!("{P}upstream:newer:okta");
    tenant.set(&newer_gone_bad, "gone bad").await;
    tenant
        .set(&format!("{P}upstream:idx:index"), "no set")
        .await;
    tenant
        .add(&format!("{P}upstream:target:okta"), "no string")
        .await;
    tenant.set(&format!("{P}user:upstream:w"), "no set").await;
    for (session, json) in [
        ("corrupt", "{\"provider_id\":\"oidc\"".to_owned()),
        ("empty", String::new()),
        ("index", old_json("oidc", "u", "1")),
        ("list", "[]".to_owned()),
        ("newer", old_json("oidc", "u", "2")),
        ("number", r#"{"provider_id":7}"#.to_owned()),
        ("target", old_json("oidc", "u", "3")),
        (
            "twice",
            r#"{"provider_id":"oidc","provider_id":"oauth2"}"#.to_owned(),
        ),
        ("unmapped", old_json("oauth2", "u", "4")),
        ("user", old_json("oidc", "w", "5")),
        (
            "wrong",
            r#"{"provider_id":"oidc","access_token":["a"]}"#.to_owned(),
        ),
    ] {
        tenant.set(&format!("{P}upstream:{session}"), &json).await;
    }
    tenant.add(&format!("{P}upstream:settled"), "a set").await;
    let mut names = vec![
        "corrupt", "empty", "index", "list", "newer", "number", "settled",
    ];
    names.extend(["target", "twice", "unmapped", "user", "wrong"]);
    names
        .iter()
        .map(|name| format!("{P}upstream:{name}"))
        .collect()
}

#[tokio::test]
async fn m6_what_cannot_be_migrated_is_named_and_stays() {
    let tenant = OldTenant::new().await;
    let named = bad_rows(&tenant).await;
    let before = tenant.snapshot_of_all();
    tenant
        .old_row("good", &old_json("oidc", "u", "9"), "u", None)
        .await;

    let report = tenant.migrate(OKTA).await;
    assert_eq!(told(&report), "rows failed 12, rows migrated 1");
    assert!(!report.is_complete());
    let failed: Vec<_> = report
        .failed
        .iter()
        .map(|entry| entry.key.clone())
        .collect();
    assert_eq!(failed, named);
    let text = report.to_string();
    assert!(
        named.iter().all(|key| text.contains(key.as_str())),
        "{text}"
    );
    let after = tenant.snapshot_of_all();
    after.assert_still_holds(&before);
}

#[tokio::test]
async fn m6_a_key_that_no_id_gives_is_named_too() {
    let tenant = OldTenant::new().await;
    let key = [P.as_bytes(), b"upstream:\xff\xfe"].concat();
    tenant.cmd::<()>("SET", &[key.as_slice(), b"{}"]).await;
    let report = tenant.migrate(OKTA).await;
    assert_eq!(told(&report), "rows failed 1");
}

#[tokio::test]
async fn m6_every_start_tries_again_until_all_is_migrated() {
    let tenant = OldTenant::new().await;
    tenant.set(&format!("{P}upstream:bad"), "{").await;
    for _ in 0..2 {
        let report = tenant
            .migration(OKTA)
            .ensure_migrated(&Silent)
            .await
            .unwrap();
        assert!(!report.expect("it isn't done").is_complete());
        assert!(!tenant.exists(&format!("{P}broker:migration")).await);
    }
    tenant
        .set(&format!("{P}upstream:bad"), &old_json("oidc", "u", "1"))
        .await;
    let report = tenant
        .migration(OKTA)
        .ensure_migrated(&Silent)
        .await
        .unwrap();
    assert_eq!(told(&report.unwrap()), "rows migrated 1");
    let report = tenant
        .migration(OKTA)
        .ensure_migrated(&Silent)
        .await
        .unwrap();
    assert_eq!(report, None);
}

#[tokio::test]
async fn m6_without_a_mapping_old_rows_cannot_be_migrated() {
    let tenant = OldTenant::new().await;
    tenant
        .old_row("s", &old_json("oidc", "u", "1"), "u", None)
        .await;
    let report = tenant.migrate(&[]).await;
    assert_eq!(told(&report), "rows failed 1");
    assert!(report.failed[0].reason.contains("oidc"));
}
