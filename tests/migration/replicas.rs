//! M5: many replicas migrate at once, and one dies or stalls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::resp_proxy::{Fate, RespProxy};
use token_broker::store::redis::maintenance::migration::{
    Report,
    progress::{MigrationProgress, Progress, Silent},
};
use tokio::{sync::OnceCell, task::JoinSet, time::Instant};

use crate::{
    old_tenant::{OldTenant, P, old_json},
    seed::{MAPPING, ROWS, assert_whole, seed},
};

async fn many_rows(tenant: &OldTenant, count: usize) {
    for n in 0..count {
        let json = old_json("oidc", &format!("u{}", n % 7), &n.to_string());
        tenant
            .old_row(&format!("m{n}"), &json, &format!("u{}", n % 7), None)
            .await;
    }
}

#[tokio::test]
async fn m5_one_works_and_the_rest_wait() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    many_rows(&tenant, 2_000).await;
    let before = tenant.snapshot_of_all();
    let mut starts = JoinSet::new();
    for _ in 0..4 {
        let migration = tenant.migration(MAPPING);
        starts.spawn(async move { migration.ensure_migrated(&Silent).await.unwrap() });
    }
    let reports: Vec<Report> = starts.join_all().await.into_iter().flatten().collect();
    assert_eq!(reports.len(), 1, "one did it, the others found it done");
    assert_eq!(reports[0].rows.migrated, 2_000 + ROWS.len() as u64);
    assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), ROWS.len());
    assert!(!tenant.exists(&format!("{P}broker:migration:lease")).await);
}

/// The lease only avoids duplicate work. Nothing breaks without it either.
#[tokio::test]
async fn m5_two_that_work_at_once_do_no_harm() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    many_rows(&tenant, 2_000).await;
    let before = tenant.snapshot_of_all();
    let mut runs = JoinSet::new();
    for _ in 0..2 {
        // Each believes that it has the lease, because the proxy says so whatever the other did.
        let port = tenant.redis.port();
        let proxy = RespProxy::start(port, move |command| async move {
            if command.name() == "SET" && command.args[1].ends_with(b":migration:lease") {
                let client = redis::Client::open(("127.0.0.1", port)).unwrap();
                let mut connection = client.get_multiplexed_async_connection().await.unwrap();
                let del = redis::cmd("DEL").arg(&command.args[1]).clone();
                del.query_async::<()>(&mut connection).await.unwrap();
            }
            Fate::Forward
        })
        .await;
        // Neither looks after its lease meanwhile. Who has lost it works anew, and no longer knows what it moved.
        let migration = tenant.migration_at(proxy.port(), MAPPING);
        let migration = migration.with_lease(Duration::from_secs(600));
        runs.spawn(async move {
            // The proxy runs as long as the migration.
            let _proxy = proxy;
            migration.run(&Silent).await.unwrap().rows
        });
    }
    let rows = runs.join_all().await;
    let migrated: u64 = rows.iter().map(|rows| rows.migrated).sum();
    assert_eq!(migrated, 2_000 + ROWS.len() as u64, "{rows:?}");
    assert!(
        rows.iter()
            .all(|rows| rows.failed + rows.superseded + rows.dropped == 0)
    );
    assert_eq!(assert_whole(&before, &tenant.snapshot_of_all()), ROWS.len());
}

/// Counts how often the migration waits.
#[derive(Default)]
struct Waits(AtomicUsize);

impl Progress<MigrationProgress> for Waits {
    fn update(&self, _: &MigrationProgress) {}

    fn waiting(&self, _: &str) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn m5_a_dead_leader_is_taken_over_from() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    let lease = Duration::from_secs(3);
    // It dies after the first row was moved, and its lease is still valid.
    let moved = Arc::new(AtomicUsize::new(0));
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let is_move = command.name().starts_with("EVAL");
        let first = is_move && moved.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Fate::CutAfter } else { Fate::Forward } }
    })
    .await;
    let begun = Instant::now();
    let dead = tenant.migration_at(proxy.port(), MAPPING).with_lease(lease);
    tokio::select! {
        done = dead.ensure_migrated(&Silent) => assert!(done.is_err()),
        () = proxy.cut() => {}
    }
    assert!(tenant.exists(&format!("{P}broker:migration:lease")).await);

    let waits = Waits::default();
    let next = tenant.migration(MAPPING).with_lease(lease);
    let report = next
        .ensure_migrated(&waits)
        .await
        .unwrap()
        .expect("work that is left");
    assert!(
        begun.elapsed() >= lease - Duration::from_millis(50),
        "{:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() < lease * 4);
    assert_eq!(waits.0.load(Ordering::SeqCst), 1);
    assert!(report.is_complete());
}

/// The leader stalls until its lease has expired. Another replica does the work, and the first one
/// notices that and stops.
#[tokio::test]
async fn m5_a_leader_that_stalls_gives_way() {
    let tenant = Arc::new(OldTenant::new().await);
    seed(&tenant).await;
    let (port, inner) = (tenant.redis.port(), Arc::clone(&tenant));
    // From its first SCAN on, nothing of it reaches Redis until another replica has had the lease for a while.
    let (stalls, goes_on) = (Arc::<AtomicBool>::default(), Arc::new(OnceCell::new()));
    let proxy = RespProxy::start(port, move |command| {
        let begins = command.name() == "SCAN";
        let stalls = stalls.fetch_or(begins, Ordering::SeqCst) || begins;
        let (tenant, goes_on) = (Arc::clone(&inner), Arc::clone(&goes_on));
        async move {
            if stalls {
                let stall = async || {
                    let lease = format!("{P}broker:migration:lease");
                    while tenant.exists(&lease).await {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    tenant.set_for(&lease, "another", 3_000).await;
                };
                goes_on.get_or_init(stall).await;
            }
            Fate::Forward
        }
    })
    .await;
    let first = tenant
        .migration_at(proxy.port(), MAPPING)
        .with_lease(Duration::from_millis(300));
    let waits = Waits::default();
    let report = first.ensure_migrated(&waits).await.unwrap();
    assert_eq!(
        waits.0.load(Ordering::SeqCst),
        1,
        "it waited for the other one"
    );
    // The other replica did nothing here, so the first one finished the work itself once the lease
    // was free.
    assert!(report.expect("its own report").is_complete());
}

#[tokio::test]
async fn m5_a_second_run_changes_nothing() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    tenant.migrate(MAPPING).await;
    let before = tenant.snapshot_of_all();
    let report = tenant.migrate(MAPPING).await;
    assert_eq!(crate::old_tenant::told(&report), "identities present 2");
    let mut after = tenant.snapshot_of_all();
    // The record contains the time.
    let record = format!("{P}broker:migration").into_bytes();
    after.0.remove(&record);
    before.assert_still_holds(&after);
}

/// Redis takes longer for a single step than the lease lives. The leader keeps the lease all the same.
#[tokio::test]
async fn m5_a_step_may_take_longer_than_the_lease() {
    let tenant = OldTenant::new().await;
    seed(&tenant).await;
    let (lease, walks) = (Duration::from_secs(2), AtomicUsize::new(0));
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let is_slow = command.name() == "SCAN" && walks.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if is_slow {
                tokio::time::sleep(lease * 2).await;
            }
            Fate::Forward
        }
    })
    .await;
    let slow = tenant.migration_at(proxy.port(), MAPPING).with_lease(lease);
    let waits = Waits::default();
    let waiting = tenant.migration(MAPPING).with_lease(lease);
    let (done, other) = tokio::join!(slow.ensure_migrated(&Silent), async {
        while !tenant.exists(&format!("{P}broker:migration:lease")).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waiting.ensure_migrated(&waits).await
    });
    assert!(done.unwrap().expect("its own report").is_complete());
    assert_eq!(other.unwrap(), None, "the other one found it done");
    assert_eq!(waits.0.load(Ordering::SeqCst), 1);
}

/// Right before the leader notes that all is done, a server takes over that lacks its last writes: a row is as it was,
/// and so is the lease. Then nothing is noted before that row is migrated too.
#[tokio::test]
async fn m7_nothing_is_noted_on_data_that_lacks_what_was_migrated() {
    let tenant = Arc::new(OldTenant::new().await);
    seed(&tenant).await;
    let inner = Arc::clone(&tenant);
    let proxy = RespProxy::start(tenant.redis.port(), move |command| {
        let is_note = ["SET", "EVAL", "EVALSHA"].contains(&&*command.name())
            && command.args.iter().any(|arg| arg.ends_with(b":migration"));
        let tenant = Arc::clone(&inner);
        async move {
            if is_note && !tenant.exists("taken over").await {
                tenant.set("taken over", "1").await;
                let json = old_json("oidc", "u", "lost");
                tenant.old_row("lost", &json, "u", None).await;
                let lease = format!("{P}broker:migration:lease");
                let holder = tenant.get(&lease).await.expect("the leader holds it");
                tenant.set_for(&lease, &holder[..32], 5_000).await;
            }
            Fate::Forward
        }
    })
    .await;
    let migration = tenant.migration_at(proxy.port(), MAPPING);
    migration.finish(false, &Silent).await.unwrap();
    assert!(tenant.exists("taken over").await);
    assert!(!tenant.exists(&format!("{P}upstream:lost")).await);
    assert!(tenant.exists(&format!("{P}upstream:lost:okta")).await);
    assert!(!tenant.exists(&format!("{P}broker:grace")).await);
}
