//! M1 and M3: a row moves completely, or is left alone for a reason that the report gives.

use token_broker::store::Store;

use crate::{
    old_tenant::{OldTenant, P, assert_kept, field, old_json, row_key, told},
    seed::alike,
};

#[tokio::test]
async fn m1_a_row_moves_with_its_life_and_its_indexes() {
    let tenant = OldTenant::new().await;
    let json = r#"{"provider_id":"oidc","access_token":"a","odd":{"n":12345678901234567890,"e":[]},"refresh_token":"r","expires_at":4102444800,"user_id":"u","upstream_subject":"s","client_id":"c"}"#;
    tenant.old_row("s1", json, "u", Some(3_600_000)).await;

    let report = tenant.migrate(&["oidc=corp-okta"]).await;
    assert_eq!(told(&report), "rows migrated 1");
    let (key, old) = (
        format!("{P}upstream:s1:corp-okta"),
        format!("{P}upstream:s1"),
    );
    assert!(!tenant.exists(&old).await);
    let row = tenant.get(&key).await.unwrap();
    let stored = tenant.read("s1", "corp-okta").await;
    let version = stored.version.number();
    let head = format!(r#"{{"version":{version},"user_id":"u","#);
    assert!(row.starts_with(&head), "{row}");
    let rest = json
        .replace("\"oidc\"", "\"corp-okta\"")
        .replace(r#""user_id":"u","#, "");
    let rest = rest.trim_start_matches('{').trim_end_matches('}');
    assert!(row[head.len()..].starts_with(rest), "{row}");
    assert_kept(tenant.pttl(&key).await, 3_600_000);

    let (session, user) = (format!("{P}upstream:idx:s1"), format!("{P}user:upstream:u"));
    assert_eq!(tenant.members(&session).await, [key.as_str()]);
    assert_eq!(tenant.members(&user).await, [key.as_str()]);
    assert_kept(tenant.pttl(&session).await, 3_600_000);
    assert_eq!(tenant.pttl(&user).await, -1, "the grace period");

    assert_eq!(stored.row.refresh_token.unwrap().expose(), "r");
    assert_eq!(stored.row.session_expires_at, None);
}

/// Readers skip fields that they don't know. What they can read moves, and keeps such fields to the byte.
#[tokio::test]
async fn m1_a_row_that_can_be_read_moves_whatever_its_unknown_fields_hold() {
    let tenant = OldTenant::new().await;
    let unknown: [&[u8]; 3] = [
        b"\"x\":1,\"x\":2",
        b"\"x\":\"\xff\xfe\"",
        b"\"\\u0078\":[{\"a\":\"]}\"}]",
    ];
    for (number, unknown) in unknown.iter().enumerate() {
        let head: &[u8] = br#"{"provider_id":"oidc","access_token":"at","#;
        let key = format!("{P}upstream:s{number}");
        let json = [head, unknown, b"}"].concat();
        tenant.cmd::<()>("SET", &[key.as_bytes(), &json]).await;
    }
    let report = tenant.migrate(&["oidc=okta"]).await;
    assert_eq!(told(&report), "rows migrated 3");
    for (number, unknown) in unknown.iter().enumerate() {
        let stored = tenant.read(&format!("s{number}"), "okta").await;
        assert_eq!(stored.row.access_token.unwrap().expose(), "at");
        let key = format!("{P}upstream:s{number}:okta");
        let json: Vec<u8> = tenant.cmd("GET", &[&key]).await;
        assert!(json.windows(unknown.len()).any(|part| part == *unknown));
    }
}

#[tokio::test]
async fn m1_remaining_life_is_kept_to_the_millisecond() {
    let tenant = OldTenant::new().await;
    for n in 0..50 {
        let json = old_json("oidc", "u", &n.to_string());
        tenant
            .old_row(&format!("s{n}"), &json, "u", Some(60_000 + n * 7_919))
            .await;
    }
    let before = tenant.snapshot_of_all();
    tenant.migrate(&["oidc=okta"]).await;
    let (after, mut late) = (tenant.snapshot_of_all(), 0);
    for n in 0..50 {
        let was = before[&*format!("{P}upstream:s{n}")].life;
        let is = after[&*format!("{P}upstream:s{n}:okta")].life;
        assert!(is.covers(was) && alike(was, is), "{n}: {was:?} {is:?}");
        late += usize::from(was != is);
        let index = after[&*format!("{P}upstream:idx:s{n}")].life;
        assert!(index.covers(is) && index.left().is_some());
    }
    // Before 7.2 Redis' clock goes on during a script, and it may stand still in the middle of a row.
    assert!(late <= 5, "{late} rows");
}

#[tokio::test]
async fn m1_rows_without_expiry_and_without_user() {
    let tenant = OldTenant::new().await;
    tenant
        .old_row("s1", &old_json("oauth2", "u", "1"), "u", None)
        .await;
    tenant
        .old_row("s2", &old_json("oauth2", "", "2"), "", Some(60_000))
        .await;
    let report = tenant.migrate(&["oauth2=github"]).await;
    assert_eq!(told(&report), "rows migrated 2");
    for key in ["upstream:s1:github", "upstream:idx:s1", "user:upstream:u"] {
        assert_eq!(tenant.pttl(&format!("{P}{key}")).await, -1, "{key}");
    }
    assert_kept(tenant.pttl(&format!("{P}upstream:s2:github")).await, 60_000);
    assert!(!tenant.exists(&format!("{P}user:upstream:")).await);
}

#[tokio::test]
async fn m1_indexes_are_completed_and_never_shortened() {
    let tenant = OldTenant::new().await;
    let (session, user) = (format!("{P}upstream:idx:s"), format!("{P}user:upstream:u"));
    // A newer row of the session has a long life, and its user's index is about to expire.
    let newer = format!("{P}upstream:s:github");
    tenant
        .set_for(
            &newer,
            r#"{"provider_id":"github","user_id":"u"}"#,
            9_000_000,
        )
        .await;
    tenant.add(&session, &newer).await;
    tenant
        .cmd::<()>("PEXPIRE", &[session.as_str(), "9000000"])
        .await;
    tenant
        .old_row("s", &old_json("oidc", "u", "1"), "u", Some(60_000))
        .await;
    tenant.add(&user, &newer).await;
    tenant.cmd::<()>("PEXPIRE", &[user.as_str(), "1000"]).await;
    // A row that never expires is in an index that never expires either.
    let (lasting, forever) = (
        format!("{P}upstream:idx:t"),
        format!("{P}upstream:t:github"),
    );
    tenant.set(&forever, r#"{"provider_id":"github"}"#).await;
    tenant.add(&lasting, &forever).await;
    tenant
        .old_row("t", &old_json("oidc", "u", "2"), "u", Some(60_000))
        .await;

    tenant.migrate(&["oidc=okta"]).await;
    let row = format!("{P}upstream:s:okta");
    assert_eq!(tenant.members(&session).await, [newer.as_str(), &row]);
    assert_kept(tenant.pttl(&session).await, 9_000_000);
    assert_eq!(tenant.pttl(&user).await, -1);
    assert_eq!(tenant.pttl(&lasting).await, -1);
    let t = format!("{P}upstream:t:okta");
    assert_eq!(tenant.members(&user).await, [newer.as_str(), &row, &t]);
}

#[tokio::test]
async fn m1_odd_ids_get_the_keys_of_the_broker() {
    let tenant = OldTenant::new().await;
    let sessions = ["idx", "a b", "50%", "{x}", "日本", "%41"];
    for session in sessions {
        tenant
            .old_row(session, &old_json("oidc", "a:b", session), "a:b", None)
            .await;
    }
    let report = tenant.migrate(&["oidc=corp okta"]).await;
    assert_eq!(told(&report), "rows migrated 6");
    for session in sessions {
        let row = tenant.read(session, "corp okta").await.row;
        assert_eq!(row.access_token.unwrap().expose(), format!("at-{session}"));
    }
    // Toolhive spelled the user's set differently. No old key is left in it.
    assert!(!tenant.exists(&format!("{P}user:upstream:a:b")).await);
    let user = token_broker::types::UserId::new("a:b").unwrap();
    let deleted = tenant.broker().delete_user(&user).await.unwrap();
    assert_eq!(deleted.rows, 6);
}

#[tokio::test]
async fn m3_what_is_left_alone() {
    let tenant = OldTenant::new().await;
    let logical = old_json("github", "u", "1");
    tenant.old_row("logical", &logical, "u", None).await;
    tenant.old_row("null", "null", "", Some(60_000)).await;
    let before = tenant.snapshot_of_all();

    let report = tenant.migrate(&["oidc=okta", "oauth2=gitlab"]).await;
    assert_eq!(told(&report), "rows left_alone 1, rows null 1");
    assert!(report.is_complete());
    assert_eq!(report.left_alone[0].key, format!("{P}upstream:logical"));
    assert!(report.left_alone[0].reason.contains("github"));
    let after = tenant.snapshot_of_all();
    for (key, held) in &before.0 {
        let key = String::from_utf8_lossy(key);
        assert_eq!(after[&*key].content, held.content, "{key}");
    }
}

#[tokio::test]
async fn m3_an_expired_access_token_is_no_reason() {
    let tenant = OldTenant::new().await;
    let expired = old_json("oidc", "u", "1").replace("4102444800", "1000000000");
    tenant.old_row("s", &expired, "u", Some(60_000)).await;
    assert_eq!(
        told(&tenant.migrate(&["oidc=okta"]).await),
        "rows migrated 1"
    );
    let row = tenant.read("s", "okta").await.row;
    assert!(row.is_expired(token_broker::types::UnixTime::now()));
    assert!(row.refresh_token.is_some());
}

#[tokio::test]
async fn an_empty_type_and_two_types() {
    let tenant = OldTenant::new().await;
    tenant
        .old_row("s1", &old_json("", "u", "1"), "u", None)
        .await;
    tenant
        .old_row("s2", r#"{"access_token":"a","user_id":"u"}"#, "u", None)
        .await;
    tenant
        .old_row("s3", r#"{"provider_id":null,"access_token":"a"}"#, "", None)
        .await;
    assert_eq!(
        told(&tenant.migrate(&["oidc=okta"]).await),
        "rows migrated 3"
    );
    for session in ["s1", "s2", "s3"] {
        let row = tenant
            .get(&format!("{P}upstream:{session}:okta"))
            .await
            .unwrap();
        assert_eq!(field(&row, "provider_id"), "okta");
    }
    tenant
        .old_row("s4", &old_json("oidc", "u", "4"), "u", None)
        .await;
    tenant
        .old_row("s5", &old_json("oauth2", "u", "5"), "u", None)
        .await;
    let report = tenant.migrate(&["oidc=okta", "oauth2=github"]).await;
    assert_eq!(told(&report), "rows migrated 2");
    assert!(tenant.exists(&format!("{P}upstream:s4:okta")).await);
    assert!(tenant.exists(&format!("{P}upstream:s5:github")).await);
}

#[tokio::test]
async fn fields_of_the_broker_in_an_old_row_mean_nothing() {
    let tenant = OldTenant::new().await;
    let json = r#"{"version":77,"migrated":77,"provider_id":"oidc","access_token":"a"}"#;
    tenant.old_row("s", json, "", None).await;
    tenant.migrate(&["oidc=okta"]).await;
    let row = tenant.get(&format!("{P}upstream:s:okta")).await.unwrap();
    let read: serde_json::Value = serde_json::from_str(&row).unwrap();
    assert_ne!(read["version"], 77);
    assert_eq!(read["version"], read["migrated"]);
    assert_eq!(row.matches("version").count(), 1);
    let version = tenant.read("s", "okta").await.version.number();
    assert_eq!(read["version"], version);
}

#[tokio::test]
async fn a_migrated_row_is_a_row_like_any_other() {
    let tenant = OldTenant::new().await;
    tenant
        .old_row("s", &old_json("oidc", "u", "1"), "u", Some(60_000))
        .await;
    tenant.migrate(&["oidc=okta"]).await;
    let store = tenant.store();
    let session = row_key("s", "okta").session;
    assert_eq!(store.get_session(&session).await.unwrap().len(), 1);
    assert_eq!(store.delete_session(&session).await.unwrap(), 1);
    let left = tenant.snapshot_of_all();
    let mut names = left.names().into_iter();
    assert!(names.all(|key| key.contains(":broker:")), "{left:?}");
}
