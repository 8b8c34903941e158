//! Tests writes and crashes between the steps of a check, with a proxy that sees each command.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::{
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Command, Fate, RespProxy},
    rows::*,
};
use token_broker::store::redis::{
    maintenance::check::{Check, Report},
    maintenance::progress::Silent,
};

use crate::{damage::DAMAGES, found, look, rows, tenant};

/// Returns whether a command looks at a row: the script with three or four keys.
fn looks_at_a_row(command: &Command) -> bool {
    command.name().starts_with("EVAL") && matches!(command.args[2].as_slice(), b"3" | b"4")
}

/// Repairs a sound row, with a write between reading the row and looking for it in its indexes.
async fn with_a_write_between<F>(
    tenant: &RedisTenant,
    write: impl Fn() -> F + Send + Sync + 'static,
) -> Report
where
    F: Future<Output = ()> + Send + 'static,
{
    tenant.broker().put(&key("s", "p"), &row("u", "at")).await;
    let (done, write) = (Arc::new(AtomicBool::new(false)), Arc::new(write));
    let proxy = RespProxy::start(RedisServer::shared().port(), move |command| {
        let first = looks_at_a_row(&command) && !done.swap(true, Ordering::SeqCst);
        let write = Arc::clone(&write);
        async move {
            if first {
                write().await;
            }
            Fate::Forward
        }
    })
    .await;
    let store = tenant.at_port(proxy.port()).store();
    let report = Check::new(&store).repairing(true).run(&Silent).await;
    tenant.audit();
    report.unwrap()
}

/// The row is gone, or belongs to another user. A check that kept using the old row would report damage.
#[tokio::test]
async fn a_row_that_changes_under_the_check() {
    let tenant = tenant();
    let broker = tenant.broker();
    let gone = with_a_write_between(&tenant, move || {
        let broker = broker.clone();
        async move { _ = broker.remove(&key("s", "p")).await }
    });
    let gone = gone.await;
    assert_eq!((found(&gone), gone.looked_again), (vec![], 1));

    let broker = tenant.broker();
    let moved = with_a_write_between(&tenant, move || {
        let broker = broker.clone();
        async move { _ = broker.put(&key("s", "p"), &row("v", "at")).await }
    });
    let moved = moved.await;
    assert_eq!((found(&moved), moved.looked_again), (vec![], 1));
    assert_eq!(moved.counts.rows, 1);

    let broker = tenant.broker();
    let nobody = with_a_write_between(&tenant, move || {
        let broker = broker.clone();
        async move { _ = broker.put(&key("s", "p"), &bare("at")).await }
    });
    let nobody = nobody.await;
    assert_eq!((found(&nobody), nobody.looked_again), (vec![], 1));
}

/// A row that is different each time it is read is skipped and counted.
#[tokio::test]
async fn a_row_that_never_settles() {
    let tenant = tenant();
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    let writes = Arc::new(AtomicUsize::new(0));
    let proxy = RespProxy::start(RedisServer::shared().port(), move |command| {
        let (broker, writes) = (broker.clone(), Arc::clone(&writes));
        async move {
            if looks_at_a_row(&command) {
                let user = format!("u{}", writes.fetch_add(1, Ordering::SeqCst));
                broker.put(&key("s", "p"), &row(&user, "at")).await;
            }
            Fate::Forward
        }
    })
    .await;
    let store = tenant.at_port(proxy.port()).store();
    let report = Check::new(&store).run(&Silent).await.unwrap();
    assert_eq!((found(&report), report.counts.unsettled), (vec![], 1));
    assert!(
        report.to_string().contains("1 rows that kept changing"),
        "{report}"
    );
}

/// A repair that is cut off at any of its commands has changed no row and made nothing worse. The next repair
/// finishes the work.
#[tokio::test]
async fn cut_off_at_every_command() {
    let server = RedisServer::start();
    for at in (1..).step_by(4) {
        redis::cmd("FLUSHALL").exec(&mut server.raw()).unwrap();
        let tenant = RedisTenant::on(&server);
        for damage in DAMAGES.iter().step_by(6) {
            damage.plant(&tenant).await;
        }
        let before = rows(&tenant.snapshot(), &tenant.prefix());
        let wrong = look(&tenant).await.damaged();
        let proxy = RespProxy::start(server.port(), move |command| async move {
            match command.number == at {
                true if at % 8 == 1 => Fate::CutBefore,
                true => Fate::CutAfter,
                false => Fate::Forward,
            }
        })
        .await;
        let store = tenant
            .at_port(proxy.port())
            .store_with(Duration::from_millis(150));
        let check = Check::new(&store).repairing(true);
        let ended = check.run(&Silent).await.is_ok();
        assert!(look(&tenant).await.damaged() <= wrong);
        crate::repair(&tenant).await;
        let left = look(&tenant).await;
        let mut damage = left.damage.iter();
        assert!(
            damage.all(|finding| finding.kind.remedy().is_some()),
            "{left}"
        );
        assert_eq!(left.leftovers, []);
        assert!(rows(&tenant.snapshot(), &tenant.prefix()) == before);
        tenant.audit();
        if ended && proxy.commands() < at {
            assert!(at > 40, "the cuts covered all steps");
            return;
        }
    }
}
