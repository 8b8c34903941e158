//! A tenant with some of everything, and what has to hold of it before, during and after a migration.

use std::collections::BTreeMap;

use crate::world::{Held, P, World, old_json};

/// Rows that a mapping of both types migrates: session, type and provider, remaining life.
pub const ROWS: [(&str, &str, &str, Option<u64>); 6] = [
    ("s1", "oidc", "okta", Some(3_600_000)),
    ("s2", "oauth2", "github", None),
    ("s3", "oidc", "okta", Some(60_000)),
    ("s4", "oauth2", "github", Some(7_200_000)),
    ("s5", "oidc", "okta", None),
    ("s6", "oidc", "okta", Some(90_000)),
];
pub const MAPPING: &[&str] = &["oidc=okta", "oauth2=github"];

/// Rows of two users, an identity of each, one row in today's format, and things of other kinds.
pub async fn seed(world: &World) {
    for (n, (session, protocol, _, ms)) in ROWS.iter().enumerate() {
        let user = if n % 2 == 0 { "alice" } else { "bob" };
        world
            .old_row(session, &old_json(protocol, user, session), user, *ms)
            .await;
    }
    for (user, protocol) in [("alice", "oidc"), ("bob", "oauth2")] {
        let key = format!("{P}provider:{}:{protocol}:{user}-sub", protocol.len());
        let json = format!(
            r#"{{"user_id":"{user}","provider_id":"{protocol}","provider_subject":"{user}-sub","linked_at":1,"last_used_at":1}}"#
        );
        world.set(&key, &json).await;
        world.add(&format!("{P}user:providers:{user}"), &key).await;
    }
    world
        .set(&format!("{P}user:alice"), r#"{"id":"alice"}"#)
        .await;
}

/// Each row is whole, in the old layout or the new one, with the life and the tokens that it had.
/// Gives how many are new.
pub fn assert_whole(before: &BTreeMap<String, Held>, now: &BTreeMap<String, Held>) -> usize {
    let mut migrated = 0;
    let has = |set: &str, member: &str| {
        let held = now.get(&format!("{P}{set}"));
        held.is_some_and(|held| held.value.iter().any(|value| value == member))
    };
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
        let was = &before[&old];
        match (now.get(&old), now.get(&new)) {
            (Some(held), None) => {
                assert_eq!(held, was, "an old row is as it was");
                assert!(has(&user_set, &old) && !has(&user_set, &new));
                assert!(!now.contains_key(&format!("{P}{session_set}")));
            }
            (None, Some(held)) => {
                migrated += 1;
                assert!(held.value[0].contains(&format!("at-{session}")));
                assert!(held.value[0].contains(&format!(r#""provider_id":"{provider}""#)));
                assert!((held.ends - was.ends).abs() <= 50, "{held:?} {was:?}");
                assert!(has(&user_set, &new) && !has(&user_set, &old));
                assert!(has(&session_set, &new));
                let index = now[&format!("{P}{session_set}")].ends;
                assert!(index == -1 || index >= held.ends - 50);
                assert_eq!(now[&format!("{P}{user_set}")].ends, -1);
                // Whoever writes from now on must know that old replicas may write as well.
                assert!(now.contains_key(&format!("{P}broker:grace")));
            }
            other => panic!("{session} is neither old nor new: {other:?}"),
        }
    }
    for (user, protocol, provider) in [("alice", "oidc", "okta"), ("bob", "oauth2", "github")] {
        let key = |name: &str| format!("{P}provider:{}:{name}:{user}-sub", name.len());
        assert_eq!(now[&key(protocol)], before[&key(protocol)]);
        let (copy, set) = (key(provider), format!("user:providers:{user}"));
        assert_eq!(now.contains_key(&copy), has(&set, &copy), "a copy is whole");
    }
    migrated
}
