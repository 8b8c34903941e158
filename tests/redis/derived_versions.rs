//! Tests writes on the condition of a version that the broker derived from a row's bytes. If other software writes the
//! same bytes again, that version comes back, so that a write whose answer was lost is never repeated on it (I7).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use testkit::{
    broker::{Broker, request, rules},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Command, Fate, RespProxy},
    rows::*,
};
use token_broker::{
    error::Error,
    store::redis::RedisStore,
    tokens::{Precondition, StoreTokens},
    types::{Row, Version},
};

/// A row as other software writes it.
const FOREIGN: &str =
    r#"{"provider_id":"p","access_token":"at","refresh_token":"rt","user_id":"u"}"#;

const ROW: &str = "upstream:s:p";

/// What a broker is to do to the row.
#[derive(Clone, Copy, Debug)]
enum Call {
    Delete,
    Store,
    Carry,
}

impl Call {
    async fn run(self, broker: &Broker<RedisStore>, version: Version) -> Result<(), Error> {
        let key = key("s", "p");
        let silent = Row {
            refresh_token: None,
            upstream_subject: None,
            ..row("u", "mine")
        };
        match self {
            Self::Delete => broker.delete(&key, Some(version)).await.map(drop),
            Self::Store => {
                let precondition = Precondition::Version(version);
                let stored = broker.put_if(&key, &row("u", "mine"), precondition).await;
                stored.map(drop)
            }
            Self::Carry => {
                let request = StoreTokens {
                    carry_forward: true,
                    ..request(&key, &silent)
                };
                broker.store(request).await.map(drop)
            }
        }
    }
}

/// Whether this is the call of a script that was told of the row, so that it may write.
fn may_write(command: &Command, row: &str) -> bool {
    let named = command.args.iter().filter(|arg| **arg == row.as_bytes());
    command.name().starts_with("EVAL") && named.count() > 1
}

fn plant(tenant: &RedisTenant) {
    let row = tenant.key(ROW);
    tenant.run::<()>(&["SET", &row, FOREIGN]);
    tenant.run::<()>(&["SADD", &tenant.key("upstream:idx:s"), &row]);
    tenant.run::<()>(&["SADD", &tenant.key("user:upstream:u"), &row]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_write_on_a_derived_version_is_not_applied_again_when_the_same_bytes_come_back() {
    let server = RedisServer::start();
    for call in [Call::Delete, Call::Store, Call::Carry] {
        let tenant = RedisTenant::on(&server);
        let writes = Arc::<AtomicUsize>::default();
        let (count, planted) = (Arc::clone(&writes), tenant.clone());
        let proxy = RespProxy::start(server.port(), move |command| {
            let row = planted.key(ROW);
            let is_script = command.name().starts_with("EVAL");
            let fate = match count.load(Ordering::SeqCst) {
                0 if may_write(&command, &row) => {
                    count.store(1, Ordering::SeqCst);
                    Fate::DropAfter
                }
                // The first attempt was done. Other software logs the user in before the next one.
                1 if is_script => {
                    count.store(2, Ordering::SeqCst);
                    plant(&planted);
                    Fate::Forward
                }
                _ => Fate::Forward,
            };
            async move { fate }
        })
        .await;
        plant(&tenant);
        let store = tenant.at_port(proxy.port()).store();
        let broker = Broker::new(store, rules(tenant.name().clone()));
        let version = broker.version(&key("s", "p")).await.unwrap();
        let outcome = call.run(&broker, version).await;
        let unknown = matches!(outcome, Err(Error::OutcomeUnknown(_)));
        assert!(unknown, "{call:?}: {outcome:?}");
        if writes.load(Ordering::SeqCst) == 2 {
            let left: String = tenant.run(&["GET", &tenant.key(ROW)]);
            assert_eq!(left, FOREIGN, "{call:?}");
        }
    }
}
