//! `ResolveUser` by a thousand callers at once.

use std::collections::BTreeSet;

use testkit::{redis_server::RedisServer, snapshot::Snapshot, waiting::until};
use tonic::Status;

use crate::{
    CROWD, PREFIX,
    brokers::{Broker, Brokers, PATIENT, is_unavailable, resolve, tally},
    flaws::{Flaw, planted},
};

pub type Answer = Result<(String, bool), Status>;

/// Returns the records of users in Redis.
pub fn records(server: &RedisServer) -> BTreeSet<String> {
    let names = Snapshot::take(&mut server.raw(), PREFIX)
        .names()
        .into_iter();
    let users =
        names.filter_map(|key| Some(key.strip_prefix(PREFIX)?.strip_prefix("user:")?.to_owned()));
    users.filter(|user| !user.contains(':')).collect()
}

/// Checks that all callers were told of one user, whom one of them made. Returns the user.
pub fn one_user<'a>(answers: impl Iterator<Item = &'a Answer>) -> Result<String, String> {
    let (mut users, mut made, mut all) = (BTreeSet::new(), 0, 0);
    for answer in answers {
        let (user, created) = answer.as_ref().map_err(ToString::to_string)?;
        users.insert(user.clone());
        made += usize::from(*created);
        all += 1;
    }
    match (users.pop_first(), users.len(), made) {
        (Some(user), 0, 1) => Ok(user),
        (_, others, made) => Err(format!("{all} callers, {} users, {made} made", others + 1)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_first_logins_one_makes_the_user() {
    let server = RedisServer::start();
    let brokers = Brokers::on(&server, &PATIENT).await;
    let answers = brokers
        .crowd(&[&server], CROWD, |_, channel| async {
            resolve(channel, "okta", "alice").await
        })
        .await;
    let user = one_user(answers.iter()).unwrap();
    assert_eq!(records(&server), [user].into());

    // The same subject at two providers is two users, also when all log in at once.
    let answers = brokers
        .crowd(&[&server], CROWD, |number, channel| async move {
            resolve(channel, ["github", "google"][number % 2], "alice").await
        })
        .await;
    let at = |which: usize| one_user(answers.iter().skip(which).step_by(2)).unwrap();
    let (github, google) = (at(0), at(1));
    assert_ne!(github, google);
    assert_eq!(records(&server).len(), 3);
    // Each has the one identity, and nothing else is there.
    let snapshot = Snapshot::take(&mut server.raw(), PREFIX);
    for (user, provider) in [(github, "6:github"), (google, "6:google")] {
        let members = snapshot.members(&format!("{PREFIX}user:providers:{user}"));
        assert_eq!(
            members,
            [format!("{PREFIX}provider:{provider}:alice")].into()
        );
    }
}

/// The control: a step that looks first and writes afterwards makes several users of one person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_before_the_write_would_have_been_noticed() {
    let server = RedisServer::start();
    let proxy = planted(&server, Flaw::ResolveLooksFirst).await;
    let brokers = Brokers::behind(proxy.port(), &PATIENT).await;
    let answers = brokers
        .crowd(&[&server], CROWD, |_, channel| async {
            resolve(channel, "okta", "alice").await
        })
        .await;
    let wrong = one_user(answers.iter()).unwrap_err();
    println!("{wrong}");
    assert!(records(&server).len() > 1, "{wrong}");
}

/// How many log in while Redis stands still.
const OUTAGE: usize = 200;

/// Makes calls while Redis stands still, and returns what they were answered. Redis goes on once all are answered.
async fn in_an_outage(
    server: &RedisServer,
    brokers: &Brokers,
    subject: &'static str,
) -> Vec<Answer> {
    server.pause();
    let logins = brokers.rush(OUTAGE, move |_, channel| async move {
        resolve(channel, "okta", subject).await
    });
    let answers = logins.await;
    server.resume();
    answers
}

/// Waits until logins are answered again. Returns the user.
async fn once_back(broker: &Broker, subject: &str) -> (String, bool) {
    let answer = std::sync::Mutex::new(None);
    until("logins are answered", async || {
        let told = resolve(broker.channel(), "okta", subject).await;
        let is_told = told.is_ok();
        *answer.lock().unwrap() = told.ok();
        is_told
    })
    .await;
    answer.into_inner().unwrap().unwrap()
}

/// While the store can't answer, nobody is told of a user, and none is made: not then, and not when it goes on. Returns what is
/// wrong.
async fn an_outage_makes_nobody(server: &RedisServer, brokers: &Brokers) -> Result<(), String> {
    let (alice, _) = once_back(brokers.one(0), "alice").await;
    for subject in ["alice", "bob"] {
        let answers = in_an_outage(server, brokers, subject).await;
        let is_refused = |answer: &Answer| answer.as_ref().is_err_and(is_unavailable);
        if !answers.iter().all(is_refused) {
            return Err(format!("{subject}: {:?}", tally(&answers)));
        }
        // Whatever was sent to Redis meanwhile has come to its end before these are answered.
        for broker in &brokers.0 {
            let answered = once_back(broker, "alice").await;
            if answered != (alice.clone(), false) {
                return Err(format!("alice became {answered:?}"));
            }
        }
    }
    match records(server) {
        records if records == [alice].into() => Ok(()),
        records => Err(format!("{} users", records.len())),
    }
}

/// Brokers that soon give up.
const HASTY: [&str; 2] = ["--redis-timeout=1500ms", "--redis-connect-timeout=1500ms"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_times_out_makes_no_second_user() {
    let server = RedisServer::start();
    let brokers = Brokers::on(&server, &HASTY).await;
    an_outage_makes_nobody(&server, &brokers).await.unwrap();
    // Whoever couldn't log in before does so now, and wasn't there before.
    let (bob, _) = once_back(brokers.one(0), "bob").await;
    assert_eq!(once_back(brokers.one(0), "bob").await, (bob, false));
    assert_eq!(records(&server).len(), 2);
}

/// The control: where a request counts that Redis gets late, users come to be whom nobody was told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_write_would_have_been_noticed() {
    let server = RedisServer::start();
    let proxy = planted(&server, Flaw::LateCounts).await;
    let brokers = Brokers::behind(proxy.port(), &HASTY).await;
    let wrong = an_outage_makes_nobody(&server, &brokers).await.unwrap_err();
    assert_eq!(wrong, "2 users");
}
