//! Two replicas of an auth server that redeems refresh tokens itself, beside three brokers that refresh the same rows
//! (guarantees, section 6, R15).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use testkit::{redis_server::RedisServer, waiting::found};
use tokio::time::Instant;

use crate::{
    auth_server::{AuthServer, Kind},
    callers::{Got, PATIENCE, agreed, gathered, in_doubt, one, tokens},
    fleet::{Fleet, Size, signal},
    kills::{A_ROUND, held_by_who_stands_still},
};

/// The auth servers and the brokers.
struct Both {
    fleet: Fleet<RedisServer>,
    kind: Kind,
    replicas: Mutex<[Arc<AuthServer>; 2]>,
}

impl Both {
    async fn start(kind: Kind, settings: &str) -> Arc<Self> {
        let fleet = Fleet::start(RedisServer::start(), settings).await;
        let start = |number| Arc::new(AuthServer::start(kind, &fleet.auth_server_args(number)));
        let replicas = Mutex::new([start(0), start(1)]);
        Arc::new(Self {
            fleet,
            kind,
            replicas,
        })
    }

    fn replica(&self, number: usize) -> Arc<AuthServer> {
        Arc::clone(&self.replicas.lock().unwrap()[number % 2])
    }

    /// Kills a replica that holds refresh tokens of these sessions, and starts another one. Returns how many it held.
    async fn kill(&self, number: usize, sessions: &[String]) -> usize {
        let pid = self.replica(number).pid();
        signal("STOP", pid);
        let held = held_by_who_stands_still(&self.fleet.redis, sessions).await;
        signal("KILL", pid);
        let next = AuthServer::start(self.kind, &self.fleet.auth_server_args(number));
        self.replicas.lock().unwrap()[number % 2] = Arc::new(next);
        held
    }

    /// One caller. Every third asks a broker, the others ask the auth servers in turn.
    async fn one(&self, session: &str, number: usize) -> Got {
        if number % 3 == 2 {
            return one(&self.fleet, session, number).await;
        }
        let end = Instant::now() + PATIENCE;
        for try_ in number.. {
            if let Some(got) = self.replica(try_).ask(session).await {
                return got;
            }
            if Instant::now() > end {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Got::Nothing("an auth server".to_owned())
    }

    async fn all(
        self: &Arc<Self>,
        sessions: &[String],
        callers: usize,
    ) -> BTreeMap<String, Vec<Got>> {
        let mut tasks = Vec::new();
        for session in sessions {
            for caller in 0..callers {
                let (both, session) = (Arc::clone(self), session.clone());
                tasks.push(tokio::spawn(async move {
                    let got = both.one(&session, caller).await;
                    (session, got)
                }));
            }
        }
        gathered(tasks).await
    }

    /// Refreshes rows in rounds, in each of which a replica is killed. Returns what the callers got, and how many tokens the
    /// replicas held that were killed.
    async fn under_kills(self: &Arc<Self>, size: Size) -> (BTreeMap<String, Got>, usize) {
        let (mut got, mut held) = (BTreeMap::new(), 0);
        for round in 0..size.rows / A_ROUND {
            let sessions = self.fleet.store_expired(A_ROUND).await;
            let begun = self.fleet.provider.happened().redemptions;
            let killing = async {
                found("some rows are refreshed", || {
                    (self.fleet.provider.happened().redemptions >= begun + 3).then_some(())
                })
                .await;
                self.kill(round, &sessions).await
            };
            let (all, killed) = tokio::join!(self.all(&sessions, size.callers), killing);
            got.extend(agreed(all));
            held += killed;
        }
        (got, held)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_servers_and_brokers_redeem_each_refresh_token_once() {
    let size = Size::of(50, 6);
    let both = Both::start(Kind::Coordinated, "").await;
    let sessions = both.fleet.store_expired(size.rows).await;
    let got = agreed(both.all(&sessions, size.callers).await);
    assert_eq!(tokens(&got), size.rows, "{got:?}");
    both.fleet.redeemed_each_once(size.rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_servers_that_ask_nobody_are_caught() {
    let size = Size::of(20, 6);
    let both = Both::start(Kind::Uncoordinated, "").await;
    let sessions = both.fleet.store_expired(size.rows).await;
    both.all(&sessions, size.callers).await;
    let happened = both.fleet.provider.happened();
    println!("rows {}, {happened:?}", size.rows);
    assert!(happened.revocations > 0, "{happened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_second_sending_each_token_in_doubt_was_held_by_an_auth_server_that_was_killed() {
    let both = Both::start(Kind::Coordinated, "replay = \"never\"").await;
    let size = Size::of(A_ROUND, 6);
    let (got, held) = both.under_kills(size).await;
    let happened = both.fleet.provider.happened();
    let in_doubt = in_doubt(&got);
    println!(
        "rows {}, in doubt {in_doubt}, held {held}, {happened:?}",
        size.rows
    );
    assert_eq!((happened.revocations, happened.refusals), (0, 0));
    assert_eq!(in_doubt, held);
    assert_eq!(tokens(&got) + held, size.rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_second_sending_a_login_is_lost_only_where_a_killed_auth_server_had_redeemed() {
    let both = Both::start(Kind::Coordinated, "").await;
    let size = Size::of(A_ROUND, 6);
    let (got, held) = both.under_kills(size).await;
    let happened = both.fleet.provider.happened();
    let in_doubt = in_doubt(&got);
    println!(
        "rows {}, in doubt {in_doubt}, held {held}, {happened:?}",
        size.rows
    );
    assert_eq!(happened.revocations as usize, in_doubt);
    assert!(in_doubt <= held);
    assert_eq!(tokens(&got) + in_doubt, size.rows);
}
