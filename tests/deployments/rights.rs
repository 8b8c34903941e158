//! Tests that the rights in `deploy/redis/` are enough, and that each is needed: without any one of
//! them something fails.

use std::{fmt::Debug, time::Duration};

use testkit::{
    broker::request,
    cluster::{self, Cluster, slot},
    launch::Program,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
    security::{BROKER_ACL, BROKER_PASSWORD, SENTINEL_ACL, Security},
    sentinel::{self, Sentinels},
    standalone::Standalone,
    waiting::until,
};
use token_broker::{
    store::{
        Authorizations, Change, CreateOutcome, Health, NewAuthorization, PendingLimits, Put,
        Records, Sealing, Store,
        redis::{
            RedisStore,
            maintenance::check::Check,
            maintenance::migration::{LegacyMapping, Migration, progress::Silent},
        },
    },
    tokens::Binding,
    types::{
        ClientId, Entry, Nonce, Payload, PendingAuthorization, Record, RowKey, SecretBytes, State,
        TokenHash, UnixTime,
    },
};

/// Returns the rights that the rules of a user grant.
fn rights(acl: &str) -> Vec<&str> {
    acl.split_whitespace()
        .filter(|rule| rule.starts_with('+'))
        .collect()
}

/// Gives the broker all rights except one.
fn take(server: &RedisServer, acl: &str, right: &str) {
    let acl = acl.replace("{prod:auth}", "{t-*:conf}");
    let acl = acl.replace("CHANGE-ME", BROKER_PASSWORD);
    let rules: Vec<_> = acl
        .split_whitespace()
        .skip(2)
        .filter(|rule| *rule != right)
        .collect();
    let command = [&["ACL", "SETUSER", "broker", "reset"][..], &rules].concat();
    server.ask::<()>(&command).unwrap();
}

/// A row as older auth servers write it.
const OLD: &str = r#"{"provider_id":"oidc","access_token":"at","refresh_token":"rt","id_token":"",
    "expires_at":4102444800,"user_id":"old","upstream_subject":"subject","client_id":"client"}"#;

fn text<E: Debug>(error: E) -> String {
    format!("{error:?}")
}

/// Starts a broker with each of these settings, up to the point where it would serve.
async fn start(starts: &[RedisTenant]) -> Result<(), String> {
    for start in starts {
        start.store().probe().await.map_err(text)?;
    }
    Ok(())
}

/// Makes a broker do everything that it ever does once it has started, on a new tenant. Stops at the first failure.
async fn a_life(tenant: &RedisTenant) -> Result<(), String> {
    tenant.run::<()>(&["SCRIPT", "FLUSH"]);
    tenant.run::<()>(&["SET", &tenant.key("upstream:old"), OLD, "PX", "3600000"]);
    let (index, odd) = (tenant.key("user:upstream:old"), tenant.key("upstream:odd"));
    tenant.run::<()>(&["SADD", &index, &tenant.key("upstream:old")]);
    tenant.run::<()>(&["RPUSH", &odd, "no row"]);

    let broker = tenant.broker();
    let store = broker.backend();
    store.ready().await.map_err(text)?;
    let mut mapping = LegacyMapping::default();
    mapping.add("oidc=okta").unwrap();
    let migration = Migration::new(store, mapping, Sealing::off(tenant.name().clone()));
    let report = migration.ensure_migrated(&Silent).await.map_err(text)?;
    if report
        .as_ref()
        .is_none_or(|report| report.rows.migrated != 1)
    {
        return Err(text(report));
    }
    migration.finish(true, &Silent).await.map_err(text)?;

    let stored = row("u", "at");
    let write = async |at: &RowKey, hours: Option<u64>| {
        let put = Put {
            keep_for: hours.map(|hours| Duration::from_secs(hours * 3_600)),
            ..put_always(at, &stored)
        };
        store.put(put).await.map_err(text)
    };
    write(&key("s", "p"), Some(1)).await?;
    write(&key("s", "p"), Some(2)).await?;
    // An index has no expiry for a row without one, and only as long as that row exists.
    write(&key("s", "endless"), None).await?;
    write(&key("s", "one too many"), None).await?;
    broker
        .delete(&key("s", "endless"), None)
        .await
        .map_err(text)?;
    tenant.run::<()>(&[
        "SADD",
        &tenant.key("user:upstream:u"),
        &tenant.key("upstream:gone:p"),
    ]);
    broker
        .store(request(&key("t", "p"), &row("u", "at")))
        .await
        .map_err(text)?;

    let mut seen = store.look(&key("s", "p")).await.map_err(text)?;
    for token in ["one", "other"] {
        // The second entry replaces the first one.
        let record = Record::new(vec![Entry::free(TokenHash::of(&secret(token).unwrap()))]);
        let change = Change {
            record: &record,
            row: None,
            ends: None,
        };
        let changed = store.change(&key("s", "p"), &seen, change).await;
        if !changed.map_err(text)? {
            return Err("the record has changed".to_owned());
        }
        seen = store.look(&key("s", "p")).await.map_err(text)?;
    }
    write(&key("s", "p"), Some(2)).await?;

    tenant.run::<()>(&[
        "SREM",
        &tenant.key("user:upstream:u"),
        &tenant.key("upstream:s:p"),
    ]);
    let check = Check::new(store).repairing(true);
    let report = check.run(&Silent).await.map_err(text)?;
    if report.mended() == 0 {
        return Err(text(report));
    }

    broker
        .get(&key("s", "p"), &Binding::default())
        .await
        .map_err(text)?;
    broker
        .get_all(&session("s"), &Binding::default(), &Default::default())
        .await
        .map_err(text)?;
    broker
        .latest_for_user(&user("u"), &provider("p"), &Default::default())
        .await
        .map_err(text)?;
    broker
        .list_user_sessions(&user("u"), 10, None, &Default::default())
        .await
        .map_err(text)?;
    a_login(store).await?;
    broker.delete_all(&session("t")).await.map_err(text)?;
    broker.delete_user(&user("u")).await.map_err(text)?;
    Ok(())
}

/// Creates and consumes a pending authorization.
async fn a_login(store: &RedisStore) -> Result<(), String> {
    let pending = PendingAuthorization {
        id: Nonce::random(),
        provider: provider("p"),
        session: session("s"),
        client: ClientId::new("c").unwrap(),
        user: None,
        expires_at: UnixTime::now(),
        payload: Payload::Plain(SecretBytes::new(Vec::new())),
    };
    let create = async |state: &State, ms| {
        let new = NewAuthorization {
            state,
            pending: &pending,
            keep_for: Duration::from_millis(ms),
            limits: PendingLimits {
                of_client: 10,
                of_tenant: 10,
            },
        };
        match store.create(new).await.map_err(text)? {
            CreateOutcome::Created => Ok(()),
            other => Err(text(other)),
        }
    };
    // One that has expired is in the sets, as long as another one waits, until the next one takes it out.
    let [waits, early, state] = &["waits", "early", "state"].map(|name| State::new(name).unwrap());
    create(waits, 60_000).await?;
    create(early, 1).await?;
    while store.pending(early).await.map_err(text)?.is_some() {
        tokio::task::yield_now().await;
    }
    create(state, 60_000).await?;
    let taken = store.take(state, &pending, Nonce::random()).await;
    match taken.map_err(text)? {
        true => Ok(()),
        false => Err("it was taken before".to_owned()),
    }
}

/// Long enough that no server counts as failed because the machine is busy.
pub const CALM: Duration = Duration::from_secs(15);

/// The rights that only a cluster needs. Databases don't exist in a cluster.
const OF_CLUSTERS: [&str; 3] = ["+asking", "+cluster|slots", "+cluster|nodes"];

/// The rights that make reads of sessions cheap. `tests/redis/sessions.rs` has what happens without them.
const OF_SPEED: [&str; 2] = ["+multi", "+exec"];

/// The rights by which brokers tell each other that a refresh has ended. `tests/redis/records.rs` has what happens without
/// them.
const OF_ANNOUNCEMENTS: [&str; 2] = ["+publish", "+subscribe"];

/// The rights that only some settings need, and the one that tells how late a write may begin
/// (`tests/redis/late.rs`).
const OF_STARTS: [&str; 3] = ["+select", "+wait", "+time"];

#[tokio::test]
async fn each_right_of_the_broker_is_needed() {
    for program in [Program::Usual, Program::Oldest, Program::Valkey] {
        let standalone = Standalone::start(program, Security::ACL);
        let tenant = RedisTenant::on(&standalone);
        let other_database = format!("redis://broker@127.0.0.1:{}/1", standalone.server.port());
        let starts = [
            tenant.clone().with("durability", "replicated"),
            tenant.clone().with("redis-url", &other_database),
        ];
        a_life(&tenant).await.unwrap();
        let mut needed = rights(BROKER_ACL);
        let optional = [&OF_CLUSTERS[..], &OF_SPEED, &OF_ANNOUNCEMENTS].concat();
        needed.retain(|right| !optional.contains(right));
        let (mut kept, mut unnoticed) = (Vec::new(), Vec::new());
        for right in needed {
            take(&standalone.server, BROKER_ACL, right);
            // The start tries each command, whether the broker needs it or not.
            if start(&starts).await.is_ok() {
                unnoticed.push(right);
            }
            if !OF_STARTS.contains(&right) && a_life(&tenant.another()).await.is_ok() {
                kept.push(right);
            }
        }
        assert!(
            kept.is_empty(),
            "{program:?}: nothing fails without {kept:?}"
        );
        assert!(
            unnoticed.is_empty(),
            "{program:?}: the start doesn't miss {unnoticed:?}"
        );
        take(&standalone.server, BROKER_ACL, "nothing");
        start(&starts).await.unwrap();
        a_life(&tenant.another()).await.unwrap();
    }
}

#[tokio::test]
async fn each_right_of_the_broker_in_a_cluster_is_needed() {
    for program in [Program::Usual, Program::Oldest, Program::Valkey] {
        let cluster = Cluster::start(&cluster::Options {
            program,
            security: Security::ACL,
            node_timeout: CALM,
            ..cluster::Options::default()
        });
        cluster.settled().await;
        let tenant = RedisTenant::on(&cluster);
        a_life(&tenant).await.unwrap();
        read_on_the_move(&cluster, &tenant).await.unwrap();
        for right in OF_CLUSTERS {
            let nodes = cluster.nodes.iter();
            nodes.for_each(|node| take(node, BROKER_ACL, right));
            let read = read_on_the_move(&cluster, &tenant.another()).await;
            assert!(read.is_err(), "{program:?}: nothing fails without {right}");
        }
    }
}

/// Reads a row while its slot moves. The row doesn't exist, so the store must ask the other node
/// too.
async fn read_on_the_move(cluster: &Cluster, tenant: &RedisTenant) -> Result<(), String> {
    let slot = slot(&tenant.prefix());
    let from = cluster.owner_of(slot).unwrap();
    let store = tenant.store();
    store.ready().await.map_err(text)?;
    let moving = cluster.begin_move(slot, from, (from + 1) % 3);
    let read = store.get(&key("s", "p")).await;
    cluster.call_off_move(moving);
    read.map(drop).map_err(text)
}

#[tokio::test]
async fn each_right_of_the_broker_at_sentinels_is_needed() {
    for program in [Program::Usual, Program::Oldest, Program::Valkey] {
        let deployment = Sentinels::start(&sentinel::Options {
            program,
            security: Security::ACL,
            down_after: CALM,
            ..sentinel::Options::default()
        });
        deployment.settled().await;
        let tenant = RedisTenant::on(&deployment);
        a_life(&tenant).await.unwrap();
        tenant.store().probe().await.unwrap();
        for right in rights(SENTINEL_ACL) {
            let sentinels = deployment.sentinels.iter();
            sentinels.for_each(|sentinel| take(sentinel, SENTINEL_ACL, right));
            // A start that a busy machine holds up for so long says nothing of rights.
            let what = format!("the start misses {right}");
            until(&what, async || {
                let store = tenant.store_with(Duration::from_millis(500));
                let error = store.probe().await.expect_err(right);
                error.at_fault.is_some()
            })
            .await;
        }
    }
}

#[test]
fn the_documentation_tells_these_rights() {
    let page = include_str!("../../docs/redis.md");
    for acl in [BROKER_ACL, SENTINEL_ACL] {
        assert!(page.contains(acl), "docs/redis.md doesn't quote {acl}");
    }
}
