//! Tests what a check finds among pending authorizations, and what mending it brings about.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::Commands;
use testkit::{
    pending::{consume, new_pending, pending_in},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    sealing,
    waiting::until,
};
use token_broker::{
    authorizations::{Authorizations, NewPending},
    error::Error,
    store::{
        self,
        redis::{
            RedisStore,
            maintenance::check::{Check, FindingKind, Report},
            maintenance::progress::Silent,
        },
    },
};
use tokio::task::JoinSet;

use crate::{found, look, repair, tenant};

/// Returns the pending authorizations of a tenant, without a limit that matters.
pub fn authorizations(tenant: &RedisTenant) -> Authorizations<RedisStore> {
    over(tenant.store(), 100_000)
}

fn over<S: store::Authorizations>(store: S, limit: usize) -> Authorizations<S> {
    pending_in(store, limit, limit)
}

/// An authorization that waits for ten minutes.
pub fn pending(state: &str, client: &str) -> NewPending {
    NewPending {
        client: testkit::pending::client(client),
        ..new_pending(state)
    }
}

/// Checks the tenant with these sealing keys.
async fn look_with(tenant: &RedisTenant, keys: &[&str]) -> Report {
    let check = Check::new(&tenant.store()).opening(sealing::sealing(tenant.name(), keys));
    check.run(&Silent).await.unwrap()
}

fn left(tenant: &RedisTenant, key: &str) -> i64 {
    tenant.run(&["PTTL", &tenant.key(key)])
}

/// Odd states and clients are sound, and so is what was taken, and a tenant from which all is gone.
#[tokio::test]
async fn odd_states_are_sound() {
    let tenant = tenant();
    let all = authorizations(&tenant);
    let odd = ["x", "a:b", "{z}", "50%", "\"client\":\"", "idx", "~"];
    for state in odd {
        for client in ["c", "a:b \"{}\"", "\\", "日本"] {
            let name = format!("{state} {client:?}");
            all.create(pending(&name, client)).await.unwrap();
        }
    }
    all.create(pending("taken", "c")).await.unwrap();
    assert!(consume(&all, "taken").await.is_ok());
    let report = look(&tenant).await;
    assert_eq!(found(&report), [], "{report}");
    assert_eq!(report.counts.pending, 28);
    // Five sets and their sizes, what was taken, and the note of the migration.
    assert_eq!((report.counts.records, report.counts.other_keys), (12, 0));
    assert!(
        report.to_string().contains("28 pending authorizations"),
        "{report}"
    );
}

/// What isn't counted lets more in than the limit, and a place of nobody locks out. Mended, the limit is exact again.
#[tokio::test]
async fn a_repair_makes_limits_exact_again() {
    let tenant = tenant();
    let all = over(tenant.store(), 3);
    for state in ["x", "y", "z"] {
        all.create(pending(state, "c")).await.unwrap();
    }
    let is_full = async |state: &str| {
        let told = all.create(pending(state, "c")).await;
        matches!(told, Err(Error::TooManyPending { .. }))
    };
    assert!(is_full("v").await);
    // An operator deletes one by hand. Its places stay.
    tenant.run::<()>(&["DEL", &tenant.key("pending:x")]);
    assert!(is_full("v").await);
    let report = repair(&tenant).await;
    assert_eq!((report.damaged(), report.unmended()), (2, 0), "{report}");
    assert!(!is_full("v").await);

    // Both sets are lost.
    tenant.run::<()>(&[
        "DEL",
        &tenant.key("broker:pending"),
        &tenant.key("broker:pending:c"),
    ]);
    let report = repair(&tenant).await;
    assert_eq!(report.found[&FindingKind::MissingInPendingSet].mended, 6);
    assert!(is_full("w").await);
    for set in ["broker:pending", "broker:pending:c"] {
        let (of_set, longest) = (left(&tenant, set), left(&tenant, "pending:v"));
        assert!(
            (longest..=600_000).contains(&of_set),
            "{set} ends in {of_set} ms"
        );
    }
    assert!(consume(&all, "y").await.is_ok());
    assert!(!is_full("w").await);
    assert_eq!(found(&look(&tenant).await), []);
}

/// What stayed for ever ends when it was to end, and is good until then.
#[tokio::test]
async fn what_has_no_end_gets_the_one_that_it_was_to_have() {
    let tenant = tenant();
    let all = authorizations(&tenant);
    all.create(pending("x", "c")).await.unwrap();
    tenant.run::<()>(&["SET", &tenant.key("pending:y"), r#"{"taken":"00"}"#]);
    tenant.run::<()>(&["SET", &tenant.key("pending:z"), r#"{"broker":"00"}"#]);
    tenant.run::<()>(&["PERSIST", &tenant.key("pending:x")]);
    // The sets have forgotten it meanwhile.
    tenant.run::<()>(&[
        "DEL",
        &tenant.key("broker:pending"),
        &tenant.key("broker:pending:c"),
    ]);
    let report = repair(&tenant).await;
    assert_eq!(
        report.found[&FindingKind::AuthorizationWithoutEnd].mended,
        3
    );
    for (key, most) in [("pending:x", 600), ("pending:y", 60), ("pending:z", 3_600)] {
        let left = left(&tenant, key);
        assert!(
            (1_000 * (most - 10)..=1_000 * (most + 1)).contains(&left),
            "{key}: {left}"
        );
    }
    let again = look(&tenant).await;
    let key = tenant.key("pending:z");
    assert_eq!(
        found(&again),
        [(FindingKind::UnreadableAuthorization, &*key, None)]
    );
    assert!(consume(&all, "x").await.is_ok());

    // Its time was over long ago.
    all.create(pending("x2", "c")).await.unwrap();
    let text: String = tenant.run(&["GET", &tenant.key("pending:x2")]);
    let at = text.split("\"expires_at\":").nth(1).unwrap();
    let at = &at[..at.find(',').unwrap()];
    let text = text.replace(at, "1000");
    tenant.run::<()>(&["SET", &tenant.key("pending:x2"), &text]);
    repair(&tenant).await;
    until("it is gone", async || left(&tenant, "pending:x2") == -2).await;
}

/// With keys the check sees what doesn't open. Without, it sees only what is readable.
#[tokio::test]
async fn a_sealed_payload_that_does_not_open_is_found() {
    let tenant = tenant();
    let sealed = over(tenant.sealed_store(&["k"]), 100);
    for state in ["x", "y"] {
        sealed.create(pending(state, "c")).await.unwrap();
    }
    let sound = look_with(&tenant, &["k"]).await;
    assert_eq!((found(&sound), sound.counts.pending), (vec![], 2));
    let missing = look_with(&tenant, &["another"]).await;
    assert_eq!(
        (found(&missing), missing.counts.pending_key_missing),
        (vec![], 2)
    );

    let text: String = tenant.run(&["GET", &tenant.key("pending:y")]);
    tenant.write_row("pending:x", &text);
    let key = tenant.key("pending:x");
    let due = [(FindingKind::UnreadableAuthorization, &*key, None)];
    assert_eq!(found(&look_with(&tenant, &["k"]).await), due);
    assert_eq!(found(&look(&tenant).await), []);
}

/// Other software keeps its own under such keys, with an end or without. It isn't looked at and stays as it is.
#[tokio::test]
async fn what_others_keep_there_is_left_alone() {
    let tenant = tenant();
    for (number, text) in [
        "{}",
        "null",
        "",
        r#"{"client_id":"c","broker":"x"}"#,
        r#" {"broker":"x"}"#,
    ]
    .iter()
    .enumerate()
    {
        tenant.run::<()>(&["SET", &tenant.key(&format!("pending:{number}")), text]);
    }
    tenant.run::<()>(&["HSET", &tenant.key("pending:h"), "broker", "x"]);
    // Not as the broker spells it.
    tenant.run::<()>(&["SET", &tenant.key("pending:a:b"), r#"{"broker":"x"}"#]);
    let before = tenant.snapshot();
    for report in [look(&tenant).await, repair(&tenant).await] {
        assert_eq!(found(&report), [], "{report}");
        assert_eq!((report.counts.pending, report.counts.other_keys), (0, 7));
    }
    assert!(tenant.snapshot() == before);
}

/// More than a page, of which many share an instant: each is looked at once, also while some are taken out.
#[tokio::test]
async fn all_pages_of_a_set_are_looked_at() {
    let tenant = tenant();
    let set = tenant.key("broker:pending");
    let mut add = redis::cmd("ZADD");
    add.arg(&set);
    for number in 0..1_000 {
        let score = 99_999_999_999_000_u64 + number / 250;
        add.arg(score).arg(tenant.key(&format!("pending:{number}")));
    }
    add.exec(&mut tenant.raw()).unwrap();
    for number in (0..1_000).step_by(3) {
        let key = tenant.key(&format!("pending:{number}"));
        tenant.run::<()>(&["SET", &key, r#"{"broker":"00"}"#, "EX", "600"]);
    }
    let due = 1_000 - 334;
    let looked = look(&tenant).await;
    let found = looked.found[&FindingKind::PlaceOfNobody].found;
    assert_eq!(found, due, "{looked}");
    assert_eq!(
        repair(&tenant).await.found[&FindingKind::PlaceOfNobody].mended,
        due
    );
    assert_eq!(tenant.run::<u64>(&["ZCARD", &set]), 334);
}

/// Who waits at the first place is gone before a later page is looked at: nobody behind them is passed over.
#[tokio::test]
async fn those_who_go_between_two_pages_hide_nobody() {
    let tenant = tenant();
    let set = tenant.key("broker:pending");
    let mut add = redis::cmd("ZADD");
    add.arg(&set);
    for number in 0..300 {
        let name = format!("pending:{number:03}");
        add.arg(99_999_999_999_000_u64).arg(tenant.key(&name));
    }
    add.exec(&mut tenant.raw()).unwrap();
    let waiting: Vec<_> = (0..60)
        .map(|number| tenant.key(&format!("pending:{number:03}")))
        .collect();
    for key in &waiting {
        tenant.run::<()>(&["SET", key, r#"{"broker":"00"}"#, "EX", "600"]);
    }
    let pages = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pages);
    let redis = RedisServer::shared();
    let proxy = RespProxy::start(redis.port(), move |command| {
        // The script that looks at the set is told how many members to look at.
        let has = |arg: &[u8]| command.args.iter().any(|known| known == arg);
        let is_page = has(set.as_bytes()) && has(b"100");
        if is_page && counted.fetch_add(1, Ordering::SeqCst) == 2 {
            let mut raw = redis.raw();
            raw.zrem::<_, _, ()>(&set, &waiting).unwrap();
            raw.del::<_, ()>(&waiting).unwrap();
        }
        async { Fate::Forward }
    })
    .await;
    let store = tenant.at_port(proxy.port()).store();
    let looked = Check::new(&store).run(&Silent).await.unwrap();
    assert!(pages.load(Ordering::SeqCst) > 3, "{looked}");
    assert_eq!(looked.found[&FindingKind::PlaceOfNobody].found, 240);
}

/// Logins that begin, end and expire all the time are no damage. A check that looks at authorizations first and at the sets
/// afterwards tells of damage: that is the control.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reported_of_logins_that_come_and_go() {
    let tenant = tenant();
    let (is_over, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut load = JoinSet::new();
    for task in 0..4 {
        let all = authorizations(&tenant);
        let (is_over, calls) = (Arc::clone(&is_over), Arc::clone(&calls));
        load.spawn(async move {
            for number in 0.. {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let state = format!("{task}-{}", number % 20);
                let mut new = pending(&state, &format!("c{}", number % 3));
                new.ttl = Duration::from_secs(1 + number % 2 * 600);
                _ = all.create(new).await;
                if number % 3 > 0 {
                    _ = consume(&all, &state).await;
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    until("there is a load", async || {
        calls.load(Ordering::SeqCst) > 100
    })
    .await;
    let (mut naive, mut rounds) = (0, 0);
    while naive == 0 || rounds < 10 {
        rounds += 1;
        assert!(rounds < 1_000, "the naive check errs");
        let check = Check::new(&tenant.store()).repairing(rounds % 2 == 0);
        let report = check.run(&Silent).await.unwrap();
        assert_eq!(report.damage, [], "{report}");
        naive += naive_findings(&tenant);
    }
    is_over.store(true, Ordering::SeqCst);
    load.join_all().await;
    assert_eq!(naive_findings(&tenant), 0, "for the load's sake only");
}

/// Returns how many authorizations aren't counted, if one is read after the other.
fn naive_findings(tenant: &RedisTenant) -> usize {
    let mut raw = tenant.raw();
    let keys: Vec<String> = raw.keys(tenant.key("pending:*")).unwrap();
    let mut there = Vec::new();
    for key in keys {
        let text: Option<String> = raw.get(&key).unwrap();
        there.extend(
            text.filter(|text| text.starts_with("{\"broker"))
                .map(|_| key),
        );
    }
    let set = tenant.key("broker:pending");
    let mut is_counted = |key: &String| {
        let score: Option<f64> = raw.zscore(&set, key).unwrap();
        score.is_some()
    };
    there.iter().filter(|key| !is_counted(key)).count()
}

/// Something else lies where the brokers count: `Create` says so, for each key, and works again after a repair. The limit is
/// exact then.
#[tokio::test]
async fn a_repair_lets_create_count_again() {
    for key in [
        "broker:pending",
        "broker:pending:c",
        "broker:pending-bytes",
        "broker:pending-bytes:c",
    ] {
        let tenant = tenant();
        let all = over(tenant.store(), 3);
        for state in ["x", "y"] {
            all.create(pending(state, "c")).await.unwrap();
        }
        tenant.run::<()>(&["DEL", &tenant.key(key)]);
        tenant.run::<()>(&["RPUSH", &tenant.key(key), "no set"]);
        let told = all.create(pending("z", "c")).await;
        assert!(
            matches!(told, Err(Error::IndexUnreadable)),
            "{key}: {told:?}"
        );
        let full = tenant.key(key);
        let kind = FindingKind::PendingSetOfWrongType;
        assert!(found(&look(&tenant).await).contains(&(kind, &*full, None)));
        let report = repair(&tenant).await;
        assert_eq!(report.unmended(), 0, "{key}: {report}");
        assert_eq!(report.found[&kind].mended, 1, "{key}: {report}");
        all.create(pending("z", "c")).await.unwrap();
        if !key.contains("bytes") {
            let told = all.create(pending("v", "c")).await;
            assert!(
                matches!(told, Err(Error::TooManyPending { .. })),
                "{key}: {told:?}"
            );
        }
        assert!(consume(&all, "x").await.is_ok());
        assert_eq!(found(&repair(&tenant).await), [], "{key}");
    }
}

/// Places that end never shut everybody out for ever.
#[tokio::test]
async fn places_without_an_end_are_taken_out() {
    let tenant = tenant();
    let all = over(tenant.store(), 3);
    for member in ["a", "b", "c"] {
        let member = tenant.key(&format!("pending:{member}"));
        tenant.run::<()>(&["ZADD", &tenant.key("broker:pending"), "inf", &member]);
    }
    let told = all.create(pending("x", "c")).await;
    assert!(
        matches!(told, Err(Error::TooManyPending { .. })),
        "{told:?}"
    );
    let report = repair(&tenant).await;
    assert_eq!(
        report.found[&FindingKind::PlaceOfNobody].mended,
        3,
        "{report}"
    );
    all.create(pending("x", "c")).await.unwrap();
}
