//! Tests a check while a slot moves from one node of a cluster to another, key by key.

use std::{sync::Arc, time::Duration};

use testkit::{
    cluster::{self, Cluster},
    redis_tenant::RedisTenant,
};
use token_broker::store::redis::maintenance::check::FindingKind;

use crate::{found, look, repair, rows};

const ROWS: usize = 1_500;

/// Plants rows without an expiry, because expiries shift by milliseconds when keys move. Every hundredth row is
/// missing in its session's index.
fn plant(tenant: &RedisTenant) {
    let mut pipe = redis::pipe();
    for number in 0..ROWS {
        let key = tenant.key(&format!("upstream:s{number}:p"));
        let user = number / 10;
        let json = format!(r#"{{"provider_id":"p","access_token":"x","user_id":"u{user}"}}"#);
        pipe.set(&key, json);
        pipe.sadd(tenant.key(&format!("user:upstream:u{user}")), &key);
        if number % 100 != 0 {
            pipe.sadd(tenant.key(&format!("upstream:idx:s{number}")), &key);
        }
    }
    pipe.exec(&mut tenant.raw()).unwrap();
}

/// A key that is being moved is neither gone nor misplaced. No member is removed because of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_under_a_repair() {
    let cluster = Arc::new(Cluster::start(&cluster::Options {
        // Long enough that no node counts as failed because the machine is busy.
        node_timeout: Duration::from_secs(15),
        ..cluster::Options::default()
    }));
    cluster.settled().await;
    let tenant = RedisTenant::on(&*cluster);
    plant(&tenant);
    let before = rows(&tenant.snapshot(), &tenant.prefix());
    let slot = cluster::slot(&tenant.prefix());
    let from = cluster.owner_of(slot).unwrap();
    let mover = tokio::task::spawn_blocking({
        let cluster = Arc::clone(&cluster);
        move || {
            let moving = cluster.begin_move(slot, from, (from + 1) % 3);
            while cluster.move_keys(moving, 10) > 0 {}
            cluster.finish_move(moving);
        }
    });
    let mut mended = 0;
    loop {
        let over = mover.is_finished();
        let report = repair(&tenant).await;
        for (kind, key, _) in found(&report) {
            assert_eq!(kind, FindingKind::MissingInSessionIndex, "{key}");
        }
        mended += report.mended();
        if over {
            break;
        }
    }
    mover.await.unwrap();
    // An answer that was lost may have reported some of them.
    assert!(mended <= ROWS as u64 / 100);
    assert_ne!(cluster.owner_of(slot), Some(from));
    assert_eq!(found(&look(&tenant).await), []);
    assert!(rows(&tenant.snapshot(), &tenant.prefix()) == before);
    tenant.audit();
}
