//! M7: the grace period, in which other software may still write.

use token_broker::{
    store::{
        Condition, Put, Store,
        redis::maintenance::migration::{Report, progress::Silent},
    },
    types::{Row, UserId, Version},
};

use crate::{
    seed::{MAPPING, seed},
    world::{P, World, assert_kept, old_json, row_key, told},
};

async fn start(world: &World, mapping: &[&str]) -> Option<Report> {
    world
        .migration(mapping)
        .ensure_migrated(&Silent)
        .await
        .unwrap()
}

async fn is_grace(world: &World) -> bool {
    world.exists(&format!("{P}broker:grace")).await
}

async fn finish(world: &World, mapping: &[&str], allow_unmigrated: bool) -> Report {
    let migration = world.migration(mapping);
    migration.finish(allow_unmigrated, &Silent).await.unwrap()
}

#[tokio::test]
async fn m7_an_empty_tenant_has_none() {
    let world = World::new().await;
    assert!(!start(&world, &[]).await.unwrap().grace_period);
    assert!(!is_grace(&world).await);
    // What the broker writes from then on isn't other software's, also to an explicit run.
    world.set(&format!("{P}upstream:s:okta"), "{}").await;
    assert_eq!(start(&world, &[]).await, None);
    assert!(!world.migrate(&[]).await.grace_period);
    assert!(!is_grace(&world).await);
}

#[tokio::test]
async fn m7_a_tenant_with_data_or_with_a_mapping_has_one() {
    let world = World::new().await;
    world.set(&format!("{P}access:signature"), "{}").await;
    assert!(start(&world, &[]).await.unwrap().grace_period);
    assert!(is_grace(&world).await);

    let world = World::new().await;
    assert!(start(&world, MAPPING).await.unwrap().grace_period);
    assert!(is_grace(&world).await);
}

#[tokio::test]
async fn m7_finish_takes_the_last_rows_and_ends_it_for_this_mapping() {
    let world = World::new().await;
    seed(&world).await;
    start(&world, MAPPING).await;
    world
        .old_row("late", &old_json("oidc", "u", "1"), "u", Some(60_000))
        .await;
    let report = finish(&world, &[], false).await;
    assert_eq!(told(&report), "identities present 2, rows migrated 1");
    assert!(!report.grace_period && !is_grace(&world).await);
    // Indexes end with their rows again.
    assert_kept(world.pttl(&format!("{P}user:upstream:u")).await, 60_000);
    assert_eq!(
        world.pttl(&format!("{P}user:upstream:alice")).await,
        -1,
        "a row that stays"
    );

    assert_eq!(start(&world, MAPPING).await, None);
    assert_eq!(start(&world, &[]).await, None);
    assert!(!world.migrate(MAPPING).await.grace_period);
    assert!(
        !is_grace(&world).await,
        "the same mapping doesn't open it again"
    );
    assert!(start(&world, &["oidc=entra"]).await.unwrap().grace_period);
    assert!(is_grace(&world).await, "another one does");
}

#[tokio::test]
async fn m7_finish_is_refused_while_something_cannot_be_migrated() {
    let world = World::new().await;
    world.old_row("bad", "{", "", None).await;
    start(&world, MAPPING).await;
    let report = finish(&world, MAPPING, false).await;
    assert!(!report.is_complete() && report.grace_period);
    assert!(is_grace(&world).await);
    let report = finish(&world, MAPPING, true).await;
    assert!(!report.is_complete() && !report.grace_period);
    assert!(!is_grace(&world).await);
    assert_eq!(start(&world, MAPPING).await, None);
}

#[tokio::test]
async fn m7_finish_alone_migrates_too() {
    let world = World::new().await;
    seed(&world).await;
    let report = finish(&world, MAPPING, false).await;
    assert_eq!(report.rows.migrated, 6);
    assert!(!is_grace(&world).await);
    assert_eq!(start(&world, MAPPING).await, None);
}

/// Toolhive adds members to a user's set without making it live longer.
#[tokio::test]
async fn m7_user_indexes_do_not_end_in_it() {
    let world = World::new().await;
    start(&world, MAPPING).await;
    let store = world.store();
    let key = row_key("s", "okta");
    let row = Row {
        user_id: UserId::new("u").ok(),
        ..Row::default()
    };
    let put = || Put {
        key: &key,
        row: &row,
        version: Version::random(),
        keep_for: Some(std::time::Duration::from_secs(60)),
        condition: Condition::Always,
        source: None,
        max_providers: 64,
    };
    let index = format!("{P}user:upstream:u");
    store.put(put()).await.unwrap();
    assert_eq!(world.pttl(&index).await, -1);
    world.add(&index, &format!("{P}upstream:dead:okta")).await;
    finish(&world, &[], false).await;
    assert_kept(world.pttl(&index).await, 60_000);
    assert_eq!(world.members(&index).await, [format!("{P}upstream:s:okta")]);
    store.put(put()).await.unwrap();
    assert_kept(world.pttl(&index).await, 60_000);
}
