//! Brokers that are killed, and brokers that stand still for longer than a lease.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{redis_server::RedisServer, waiting::found};

use crate::{
    callers::{Got, again, agreed, all, in_doubt, one, tokens},
    fleet::{Fleet, Size, signal},
};

/// How many rows fall due together in a round.
pub const A_ROUND: usize = 50;
/// For how long nothing changes once those that run have finished.
const SETTLED: Duration = Duration::from_millis(1_500);
/// How many looks find nothing changed by then. There are 5 ms at least between two of them.
const LOOKS: usize = 100;

/// How long the provider takes, so that who is stopped or killed then surely has requests under way.
pub const SLOW: Duration = Duration::from_millis(400);
/// Longer than a lease, the time for a request, and the lease after which others go on.
pub const TAKEN_OVER: Duration = Duration::from_secs(10);

/// Returns how many refresh tokens of these sessions are taken now, and their outcome isn't known.
pub fn open_entries(redis: &RedisServer, sessions: &[String]) -> usize {
    let mut connection = redis.raw();
    let mut all = redis::pipe();
    for session in sessions {
        let key = format!("thv:auth:{{default:default}}:broker:refresh:{session}:idp");
        all.cmd("HGETALL").arg(key);
    }
    let records: Vec<BTreeMap<String, String>> = all.query(&mut connection).unwrap();
    let is_open = |entry: &String| entry.contains(r#""state":"open""#);
    let records = records.iter();
    records
        .filter(|record| record.values().any(is_open))
        .count()
}

/// Kills a broker that holds refresh tokens of these sessions. Returns how many it held.
async fn kill(fleet: &Fleet<RedisServer>, number: usize, sessions: &[String]) -> usize {
    let broker = fleet.take(number);
    let pid = broker.process.pid();
    signal("STOP", pid);
    let held = held_by_who_stands_still(&fleet.redis, sessions).await;
    signal("KILL", pid);
    held
}

/// Returns how many refresh tokens of these sessions a process holds that was stopped.
pub async fn held_by_who_stands_still(redis: &RedisServer, sessions: &[String]) -> usize {
    // What the others hold ends soon. What stays open is this one's, until the others take it over after seven seconds.
    let (mut same, mut looks) = ((usize::MAX, Instant::now()), 0);
    found("what the others hold has ended", || {
        let open = open_entries(redis, sessions);
        if same.0 != open {
            same = (open, Instant::now());
            looks = 0;
        }
        looks += 1;
        // While the machine stands still nobody ends anything.
        (same.1.elapsed() > SETTLED && looks > LOOKS).then_some(open)
    })
    .await
}

/// At most so many rounds are added to those of a test, if what was disturbed held nothing in any of these. Which broker has
/// requests under way at an instant is chance.
pub const MORE_ROUNDS: usize = 10;

/// Refreshes rows in rounds, and disturbs each round once it is under way. Goes on until a disturbance has hit something.
/// Returns what the callers got, and the sum of what `disturb` returned.
async fn disturbed<F: Future<Output = usize>>(
    fleet: &Arc<Fleet<RedisServer>>,
    size: Size,
    disturb: impl Fn(usize, Vec<String>) -> F,
) -> (BTreeMap<String, Vec<Got>>, usize) {
    let (mut got, mut sum) = (BTreeMap::new(), 0);
    let rounds = size.rows / A_ROUND;
    for round in 0..rounds + MORE_ROUNDS {
        if round >= rounds && sum > 0 {
            break;
        }
        let sessions = fleet.store_expired(A_ROUND).await;
        let begun = fleet.provider.happened().redemptions;
        let calls = all(fleet, &sessions, size.callers);
        let disturbing = async {
            found("some rows are refreshed", || {
                (fleet.provider.happened().redemptions >= begun + 3).then_some(())
            })
            .await;
            disturb(round, sessions.clone()).await
        };
        let (all, disturbed) = tokio::join!(calls, disturbing);
        got.extend(all);
        sum += disturbed;
    }
    (got, sum)
}

/// Kills a broker in each round. Returns what the callers got, and how many tokens the brokers held that were killed.
async fn refreshed_under_kills(
    fleet: &Arc<Fleet<RedisServer>>,
    size: Size,
) -> (BTreeMap<String, Got>, usize) {
    let disturb = |round, sessions: Vec<String>| async move {
        let held = kill(fleet, round % 3, &sessions).await;
        fleet.start_broker(round % 3).await;
        held
    };
    let (got, held) = disturbed(fleet, size, disturb).await;
    (agreed(got), held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_second_sending_each_token_in_doubt_was_held_by_a_broker_that_was_killed() {
    let fleet = Arc::new(Fleet::start_brief(RedisServer::start(), "replay = \"never\"").await);
    let size = Size::of(100, 4);
    let (got, held) = refreshed_under_kills(&fleet, size).await;
    let happened = fleet.provider.happened();
    println!(
        "rows {}, in doubt {}, held by killed brokers {held}, {happened:?}",
        got.len(),
        in_doubt(&got)
    );
    assert!(held > 0, "no kill hit a redemption");
    assert_eq!((happened.revocations, happened.refusals), (0, 0));
    assert_eq!(in_doubt(&got), held);
    assert_eq!(tokens(&got) + held, got.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_second_sending_a_login_is_lost_only_where_the_first_was_redeemed() {
    let fleet = Arc::new(Fleet::start_brief(RedisServer::start(), "").await);
    let size = Size::of(100, 4);
    let (got, held) = refreshed_under_kills(&fleet, size).await;
    let happened = fleet.provider.happened();
    println!(
        "rows {}, in doubt {}, held by killed brokers {held}, {happened:?}",
        got.len(),
        in_doubt(&got)
    );
    // Each lost login is one that a broker had sent, and was killed before it had stored the answer.
    assert_eq!(happened.revocations as usize, in_doubt(&got));
    assert!(in_doubt(&got) <= held);
    assert_eq!(tokens(&got) + in_doubt(&got), got.len());
}

/// Stops a broker in each round while it holds refresh tokens, and lets it go on when others have taken these over. Returns
/// what the callers got, and how many it held.
async fn refreshed_under_stops(
    fleet: &Arc<Fleet<RedisServer>>,
    size: Size,
) -> (BTreeMap<String, Vec<Got>>, usize) {
    fleet.provider.takes(SLOW);
    let disturb = |round, sessions: Vec<String>| async move {
        let pid = fleet.broker(round % 3).unwrap().process.pid();
        signal("STOP", pid);
        let (held, ()) = tokio::join!(
            held_by_who_stands_still(&fleet.redis, &sessions),
            tokio::time::sleep(TAKEN_OVER)
        );
        signal("CONT", pid);
        held
    };
    disturbed(fleet, size, disturb).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_for_longer_than_a_lease_sends_nothing_twice() {
    let fleet = Arc::new(Fleet::start_brief(RedisServer::start(), "replay = \"never\"").await);
    let size = Size::of(A_ROUND, 4);
    let (got, held) = refreshed_under_stops(&fleet, size).await;
    assert!(held > 0, "the broker held nothing");
    let mut last = BTreeMap::new();
    for (session, got) in got {
        let mut tokens: Vec<_> = got
            .into_iter()
            .filter(|got| matches!(got, Got::Token(_)))
            .collect();
        // Others may have been told of a doubt, which a late answer lifted.
        let now = one(&fleet, &session, 0).await;
        tokens.dedup();
        assert!(
            tokens.iter().all(|token| *token == now),
            "{tokens:?} {now:?}"
        );
        last.insert(session, now);
    }
    let happened = fleet.provider.happened();
    let in_doubt = in_doubt(&last);
    println!("rows {}, in doubt {in_doubt}, {happened:?}", last.len());
    assert_eq!((happened.revocations, happened.refusals), (0, 0));
    assert_eq!(tokens(&last) + in_doubt, last.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_token_may_come_twice_a_broker_that_stands_still_loses_nothing() {
    let grace = no_session_is_lost("rotation = \"grace\"\ngrace = \"10m\"", "grace");
    let none = no_session_is_lost("rotation = \"none\"", "none");
    tokio::join!(grace, none);
}

/// Stops brokers of a provider of this sort, and refreshes each row once more in the end.
async fn no_session_is_lost(settings: &str, sort: &str) {
    let fleet = Arc::new(Fleet::start_brief(RedisServer::start(), settings).await);
    fleet.provider.rotate(sort);
    let size = Size::of(A_ROUND, 4);
    let (got, _) = refreshed_under_stops(&fleet, size).await;
    let is_token = |got: &Got| matches!(got, Got::Token(_));
    assert!(got.values().flatten().all(is_token), "{got:?}");
    let during = fleet.provider.happened();
    let repeated = during.redemptions as usize - got.len();
    for session in got.keys() {
        let got = again(&fleet, session).await;
        assert!(is_token(&got), "{got:?}");
    }
    println!("{sort}: rows {}, {repeated} tokens came twice", got.len());
    let happened = fleet.provider.happened();
    assert_eq!((happened.revocations, happened.refusals), (0, 0));
    let again = happened.redemptions - during.redemptions;
    // A request that took too long was sent again.
    assert!(again as usize >= got.len(), "{again}");
}
