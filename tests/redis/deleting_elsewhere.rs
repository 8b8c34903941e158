//! Tests a `DeleteUser` that begins at one server and ends at another, which lacks what was deleted before. What a
//! call has done at one server says nothing about the next (I3).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use testkit::{
    link::{Cuts, Link},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Command, Fate, RespProxy},
    rows::*,
    waiting::until,
};
use token_broker::tokens::DeletedUser;
use tokio::sync::watch;

/// More than one batch.
const ROWS: usize = 300;

/// Two servers with the same data, and a name that leads to one of them.
struct Servers {
    first: RedisServer,
    second: RedisServer,
    name: Link,
}

/// A step of `DeleteUser`, as the proxy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    LookAtRows,
    LookAtIdentities,
}

impl Step {
    fn of(command: &Command, tenant: &RedisTenant) -> Option<Self> {
        if !command.name().starts_with("EVAL") || command.args[2] != b"1" {
            return None;
        }
        let key = String::from_utf8_lossy(command.args.get(3)?);
        match key.strip_prefix(&tenant.prefix())? {
            "user:upstream:u" => Some(Self::LookAtRows),
            "user:providers:u" => Some(Self::LookAtIdentities),
            _ => None,
        }
    }
}

/// What happens before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The first server dies, and the name leads to the second.
    FailsOver,
    /// The first server takes the data of the second, and is then the primary as before. It is the same process all
    /// the time.
    TakesOverAndBack,
}

impl Servers {
    async fn start() -> (Arc<Self>, RedisTenant) {
        let [first, second] = [RedisServer::start(), RedisServer::start()];
        let name = Link::new(&watch::Sender::new(Cuts::default()));
        name.lead_to(first.port());
        let tenant = RedisTenant::on(&first);
        // Servers that know the scripts get each of them once.
        for server in [&first, &second] {
            fill(&tenant, server);
            let broker = tenant.at_port(server.port()).broker();
            broker.delete_user(&user("u")).await.unwrap();
            fill(&tenant, server);
        }
        let servers = Self {
            first,
            second,
            name,
        };
        (Arc::new(servers), tenant)
    }

    /// Lets this happen. Returns what becomes of the command that was on its way.
    async fn happens(&self, event: Event) -> Fate {
        match event {
            Event::FailsOver => {
                self.name.lead_to(self.second.port());
                self.first.kill();
                Fate::DropBefore
            }
            Event::TakesOverAndBack => {
                demote(&self.first, self.second.port());
                until("the first server has the data", async || {
                    let info: String = self.first.ask(&["INFO", "replication"]).unwrap();
                    info.contains("master_link_status:up")
                })
                .await;
                promote(&self.first);
                Fate::Forward
            }
        }
    }
}

fn demote(server: &RedisServer, primary: u16) {
    let port = primary.to_string();
    server
        .ask::<()>(&["REPLICAOF", "127.0.0.1", &port])
        .unwrap();
}

fn promote(server: &RedisServer) {
    server.ask::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
}

/// Gives the user `u` rows, identities and a record.
fn fill(tenant: &RedisTenant, server: &RedisServer) {
    let mut pipe = redis::pipe();
    let mut member = |set: &str, key: &str, value: &str| {
        let key = tenant.key(key);
        pipe.set(&key, value).ignore();
        pipe.sadd(tenant.key(set), &key).ignore();
    };
    for number in 0..ROWS {
        let row = format!("upstream:s{number}:p");
        let json = r#"{"version":7,"user_id":"u","access_token":"at"}"#;
        member("user:upstream:u", &row, json);
        member(&format!("upstream:idx:s{number}"), &row, json);
        let identity = format!("provider:1:p:{number}");
        member("user:providers:u", &identity, r#"{"user_id":"u"}"#);
    }
    pipe.set(tenant.key("user:u"), "{}").ignore();
    pipe.exec(&mut server.raw()).unwrap();
}

/// Deletes the user. `event` happens before the step `last.0` comes for the `last.1`-th time.
async fn delete_user(
    servers: &Arc<Servers>,
    tenant: &RedisTenant,
    last: (Step, usize),
    event: Event,
) -> DeletedUser {
    let times = AtomicUsize::new(0);
    let (at, proxied) = (Arc::clone(servers), tenant.clone());
    let proxy = RespProxy::start(servers.name.port(), move |command| {
        let is_step = Step::of(&command, &proxied) == Some(last.0);
        let is_now = is_step && times.fetch_add(1, Ordering::SeqCst) + 1 == last.1;
        let at = Arc::clone(&at);
        async move {
            match is_now {
                true => at.happens(event).await,
                false => Fate::Forward,
            }
        }
    })
    .await;
    let through = tenant.at_port(proxy.port());
    // What happens meanwhile may take long on a slow machine.
    let broker = through.with("redis-timeout", "10s").broker();
    broker.delete_user(&user("u")).await.unwrap()
}

/// The looks at which something happens.
const LAST: [(Step, usize); 3] = [
    (Step::LookAtRows, 2),
    (Step::LookAtIdentities, 1),
    (Step::LookAtIdentities, 2),
];

/// Checks that nothing of the user is at this server.
fn is_clean(server: &RedisServer, last: (Step, usize)) {
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).unwrap();
    let first = keys.first();
    assert!(keys.is_empty(), "{last:?}: {} keys: {first:?}", keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_server_that_takes_over_at_a_look_is_looked_at_from_the_beginning() {
    for last in LAST {
        let (servers, tenant) = Servers::start().await;
        let deleted = delete_user(&servers, &tenant, last, Event::FailsOver).await;
        assert!(deleted.existed && deleted.rows >= ROWS as u64);
        is_clean(&servers.second, last);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_server_that_took_over_the_data_of_another_is_looked_at_from_the_beginning() {
    for last in LAST {
        let (servers, tenant) = Servers::start().await;
        delete_user(&servers, &tenant, last, Event::TakesOverAndBack).await;
        is_clean(&servers.first, last);
    }
}
