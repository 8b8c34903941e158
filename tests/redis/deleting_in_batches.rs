//! Tests how the batches of a large `DeleteUser` follow each other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::{
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Command, Fate, RespProxy},
    rows::*,
    waiting::until,
};
use tokio::{sync::Barrier, time::timeout};

const ROWS: usize = 600;

fn fill(tenant: &RedisTenant) {
    let mut pipe = redis::pipe();
    for number in 0..ROWS {
        let row = tenant.key(&format!("upstream:s{number}:p"));
        pipe.set(&row, r#"{"version":7,"user_id":"u","access_token":"at"}"#)
            .ignore();
        pipe.sadd(tenant.key(&format!("upstream:idx:s{number}")), &row)
            .ignore();
        pipe.sadd(tenant.key("user:upstream:u"), &row).ignore();
    }
    pipe.exec(&mut tenant.raw()).unwrap();
}

/// Whether a command deletes a batch of rows.
pub fn is_batch(command: &Command) -> bool {
    command.name() == "EVALSHA" && command.args.len() > 32
}

/// Redis needn't wait for the next batch.
#[tokio::test(flavor = "multi_thread")]
async fn two_batches_are_on_the_way_at_once() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let (arrived, both) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let proxy = {
        let (arrived, both) = (Arc::clone(&arrived), Arc::clone(&both));
        RespProxy::start(server.port(), move |command| {
            let (arrived, both) = (Arc::clone(&arrived), Arc::clone(&both));
            async move {
                if is_batch(&command) && arrived.fetch_add(1, Ordering::SeqCst) < 2 {
                    let met = timeout(Duration::from_secs(15), both.wait()).await;
                    if met.is_err() {
                        return Fate::CutBefore;
                    }
                }
                Fate::Forward
            }
        })
        .await
    };
    let broker = tenant.at_port(proxy.port()).broker();
    // Redis knows the script afterwards.
    broker.put(&key("s", "p"), &row("u", "at")).await;
    broker.delete_user(&user("u")).await.unwrap();
    // Each batch has a connection of its own, so that the proxy sees both.
    until("both connections for writes are there", async || {
        for number in 0..4 {
            broker
                .put(&key("t", &format!("p{number}")), &row("v", "at"))
                .await;
        }
        let clients: String = tenant.run(&["CLIENT", "LIST"]);
        let writers = clients
            .lines()
            .filter(|line| line.contains("cmd=evalsha") || line.contains("cmd=eval "));
        writers.count() >= 2
    })
    .await;
    fill(&tenant);
    let deleted = broker.delete_user(&user("u")).await.unwrap();
    assert_eq!(deleted.rows, ROWS as u64);
    assert!(arrived.load(Ordering::SeqCst) > 4);
    tenant.audit();
}
