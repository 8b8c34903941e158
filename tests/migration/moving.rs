//! Tests M7 while data moves: a slot moves to another node, or a primary dies, during a migration.

use std::{
    sync::{Mutex, atomic::AtomicBool},
    time::Duration,
};

use testkit::{
    cluster::{self, Cluster},
    redis_tenant::RedisTenant,
    sentinel::{self, Sentinels},
};
use token_broker::{
    store::Sealing,
    store::redis::maintenance::migration::{
        Migration, Report,
        progress::{MigrationProgress, Progress},
    },
    types::Tenant,
};

use crate::old_tenant::mapping_of;

/// Enough rows for several pages of a scan.
const ROWS: usize = 5_000;

/// Does something once, when the migration has reached a certain point.
struct Meddler<W, D> {
    when: W,
    deed: Mutex<Option<D>>,
    done: AtomicBool,
}

impl<W: Fn(&MigrationProgress) -> bool + Send + Sync, D: FnOnce() + Send>
    Progress<MigrationProgress> for Meddler<W, D>
{
    fn update(&self, snapshot: &MigrationProgress) {
        if (self.when)(snapshot)
            && let Some(deed) = self.deed.lock().unwrap().take()
        {
            deed();
            self.done.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
}

/// Migrates while `deed` is done.
async fn migrate_under(
    tenant: &RedisTenant,
    when: impl Fn(&MigrationProgress) -> bool + Send + Sync,
    deed: impl FnOnce() + Send,
) -> Report {
    let meddler = Meddler {
        when,
        deed: Mutex::new(Some(deed)),
        done: AtomicBool::new(false),
    };
    let migration = Migration::new(
        &tenant.store(),
        mapping_of(&["oidc=okta"]),
        Sealing::off(tenant.name().clone()),
    );
    let report = migration.run(&meddler).await.unwrap();
    assert!(meddler.done.into_inner(), "the deed was done meanwhile");
    report
}

/// Plants rows of the older layout, each with its member in the user's set. Waits until `replicas` have them.
pub fn plant(tenant: &RedisTenant, replicas: u32) {
    let mut rows = redis::pipe();
    for number in 0..ROWS {
        let key = tenant.key(&format!("upstream:s{number}"));
        let json = format!(
            r#"{{"provider_id":"oidc","access_token":"at-{number}","user_id":"u{}"}}"#,
            number % 50
        );
        rows.cmd("SET").arg(&key).arg(json).ignore();
        let user = tenant.key(&format!("user:upstream:u{}", number % 50));
        rows.cmd("SADD").arg(user).arg(&key).ignore();
    }
    let mut raw = tenant.raw();
    rows.exec(&mut raw).unwrap();
    // A replica that takes over must have the rows.
    let wait = redis::cmd("WAIT").arg(replicas).arg(20_000).clone();
    let have: u32 = wait.query(&mut raw).unwrap();
    assert!(have >= replicas, "{have} replicas have the rows");
}

/// Checks that all data is in its place, and that no old data is left.
pub fn is_migrated(tenant: &RedisTenant) {
    let snapshot = tenant.snapshot();
    for number in 0..ROWS {
        let row = snapshot.text(&tenant.key(&format!("upstream:s{number}:okta")));
        let token = format!("\"access_token\":\"at-{number}\"");
        assert!(row.is_some_and(|row| row.contains(&token)), "{number}");
        assert!(
            snapshot
                .get(&tenant.key(&format!("upstream:s{number}")))
                .is_none(),
            "{number}"
        );
    }
    tenant.audit();
}

/// Returns a tenant on the last of the primaries, in the order in which the migration visits them.
fn tenant_of_the_last(cluster: &Cluster) -> (RedisTenant, usize, usize) {
    let primaries = || (0..cluster.nodes.len()).filter(|&i| i < 3);
    let last = primaries().max_by_key(|&i| cluster.port(i)).unwrap();
    let first = primaries().min_by_key(|&i| cluster.port(i)).unwrap();
    loop {
        let tenant = RedisTenant::on(cluster);
        if cluster.owner_of(slot_of(tenant.name())) == Some(last) {
            return (tenant, first, last);
        }
    }
}

fn slot_of(tenant: &Tenant) -> u16 {
    cluster::slot(&format!("{{{tenant}}}"))
}

/// The slot moves to a node that the migration has already scanned. A migration that scanned each node once would
/// miss the rest of the rows.
#[tokio::test]
async fn m7_a_slot_moves_under_a_migration() {
    // A node that stands still for a moment isn't failed over.
    let cluster = Cluster::start(&cluster::Options {
        node_timeout: Duration::from_secs(30),
        ..cluster::Options::default()
    });
    cluster.settled().await;
    let (tenant, first, last) = tenant_of_the_last(&cluster);
    plant(&tenant, 1);
    let slot = slot_of(tenant.name());
    let begun = |now: &MigrationProgress| now.migrated > 0;
    let report = migrate_under(&tenant, begun, || cluster.move_slot(slot, last, first)).await;
    assert_eq!(report.rows.migrated, ROWS as u64);
    assert_eq!(cluster.owner_of(slot), Some(first), "it moved");
    is_migrated(&tenant);
}

#[tokio::test]
async fn m7_the_primary_of_a_slot_dies_under_a_migration() {
    let cluster = Cluster::start(&cluster::Options::default());
    cluster.settled().await;
    let (tenant, _, last) = tenant_of_the_last(&cluster);
    plant(&tenant, 1);
    let begun = |now: &MigrationProgress| now.migrated > 0;
    migrate_under(&tenant, begun, || cluster.nodes[last].kill()).await;
    assert_ne!(cluster.owner_of(slot_of(tenant.name())), Some(last));
    is_migrated(&tenant);
}

#[tokio::test]
async fn m7_a_primary_dies_under_a_migration() {
    let sentinels = Sentinels::start(&sentinel::Options::default());
    sentinels.settled().await;
    let tenant = RedisTenant::on(&sentinels);
    // Either replica may take over.
    plant(&tenant, 2);
    let primary = sentinels.primary().unwrap();
    let begun = |now: &MigrationProgress| now.migrated > 0;
    migrate_under(&tenant, begun, || sentinels.servers[primary].kill()).await;
    assert_ne!(sentinels.primary(), Some(primary));
    is_migrated(&tenant);
}
