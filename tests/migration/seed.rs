//! Old data of every kind, and what must hold of it before, during and after a migration.

use testkit::snapshot::{Life, Snapshot};

use crate::old_tenant::{OldTenant, P, old_json};

/// The rows that a mapping of both types migrates: session, type and provider, remaining life.
pub const ROWS: [(&str, &str, &str, Option<u64>); 6] = [
    ("s1", "oidc", "okta", Some(3_600_000)),
    ("s2", "oauth2", "github", None),
    ("s3", "oidc", "okta", Some(60_000)),
    ("s4", "oauth2", "github", Some(7_200_000)),
    ("s5", "oidc", "okta", None),
    ("s6", "oidc", "okta", Some(90_000)),
];
pub const MAPPING: &[&str] = &["oidc=okta", "oauth2=github"];

/// Plants rows of two users, an identity of each, one row in today's format, and keys of other
/// kinds.
pub async fn seed(tenant: &OldTenant) {
    for (n, (session, protocol, _, ms)) in ROWS.iter().enumerate() {
        let user = if n % 2 == 0 { "alice" } else { "bob" };
        tenant
            .old_row(session, &old_json(protocol, user, session), user, *ms)
            .await;
    }
    for (user, protocol) in [("alice", "oidc"), ("bob", "oauth2")] {
        let key = format!("{P}provider:{}:{protocol}:{user}-sub", protocol.len());
        let json = format!(
            r#"{{"user_id":"{user}","provider_id":"{protocol}","provider_subject":"{user}-sub","linked_at":1,"last_used_at":1}}"#
        );
        tenant.set(&key, &json).await;
        tenant.add(&format!("{P}user:providers:{user}"), &key).await;
    }
    tenant
        .set(&format!("{P}user:alice"), r#"{"id":"alice"}"#)
        .await;
}

/// Whether two keys end at the same time, as far as Redis can say: before 7.2 the clock goes on while a script moves a row,
/// and the machine may be busy. No two rows end within so short a time of each other.
pub fn alike(one: Life, other: Life) -> bool {
    match (one, other) {
        (Life::Until(one), Life::Until(other)) => one.abs_diff(other) <= 5_000,
        _ => one == other,
    }
}

/// Each row is whole, in the old layout or the new one, with the life and the tokens that it had.
/// Gives how many are new.
pub fn assert_whole(before: &Snapshot, now: &Snapshot) -> usize {
    let mut migrated = 0;
    let has = |set: &str, member: &str| now.holds(&format!("{P}{set}"), member);
    for (n, (session, _, provider, _)) in ROWS.iter().enumerate() {
        let user = if n % 2 == 0 { "alice" } else { "bob" };
        let (old, new) = (
            format!("{P}upstream:{session}"),
            format!("{P}upstream:{session}:{provider}"),
        );
        let (session_set, user_set) = (
            format!("upstream:idx:{session}"),
            format!("user:upstream:{user}"),
        );
        let was = &before[&*old];
        match (now.get(&old), now.get(&new)) {
            (Some(held), None) => {
                assert_eq!(held, was, "an old row is as it was");
                assert!(has(&user_set, &old) && !has(&user_set, &new));
                assert!(now.get(&format!("{P}{session_set}")).is_none());
            }
            (None, Some(held)) => {
                migrated += 1;
                let text = now.text(&new).expect("text");
                assert!(text.contains(&format!("at-{session}")));
                assert!(text.contains(&format!(r#""provider_id":"{provider}""#)));
                assert!(alike(held.life, was.life), "{held:?} {was:?}");
                assert!(has(&user_set, &new) && !has(&user_set, &old));
                assert!(has(&session_set, &new));
                let index = now[&*format!("{P}{session_set}")].life;
                assert!(index.covers(held.life) || alike(index, held.life));
                assert_eq!(now[&*format!("{P}{user_set}")].life, Life::Endless);
                // Every later writer must know that old replicas may still write.
                assert!(now.get(&format!("{P}broker:grace")).is_some());
            }
            other => panic!("{session} is neither old nor new: {other:?}"),
        }
    }
    for (user, protocol, provider) in [("alice", "oidc", "okta"), ("bob", "oauth2", "github")] {
        let key = |name: &str| format!("{P}provider:{}:{name}:{user}-sub", name.len());
        assert_eq!(now[&*key(protocol)], before[&*key(protocol)]);
        let (copy, set) = (key(provider), format!("user:providers:{user}"));
        assert_eq!(
            now.get(&copy).is_some(),
            has(&set, &copy),
            "a copy is whole"
        );
    }
    migrated
}
