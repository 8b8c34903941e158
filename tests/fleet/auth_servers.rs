//! Two replicas of an auth server that redeems refresh tokens itself, beside three brokers that refresh the same rows
//! (guarantees, section 6, R15).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use testkit::{oidc_provider::Happened, redis_server::RedisServer, waiting::found};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::{
    auth_server::{AuthServer, Kind},
    callers::{Got, PATIENCE, agreed, gathered, in_doubt, one, tokens},
    fleet::{Fleet, Size, signal},
    kills::{A_ROUND, MORE_ROUNDS, SLOW, held_by_who_stands_still},
};

/// The auth servers and the brokers.
struct Both {
    fleet: Arc<Fleet<RedisServer>>,
    kind: Kind,
    /// Where the replicas find a broker.
    ways: [SocketAddr; 2],
    replicas: Mutex<[Arc<AuthServer>; 2]>,
}

/// Returns an address from which each new connection leads to a broker that runs: the one in this place, if it does.
async fn way_to(fleet: &Arc<Fleet<RedisServer>>, number: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fleet = Arc::downgrade(fleet);
    tokio::spawn(async move {
        while let (Ok((mut client, _)), Some(fleet)) = (listener.accept().await, fleet.upgrade()) {
            let broker = (number..number + 3).find_map(|place| fleet.broker(place % 3));
            let broker = broker.unwrap().process.address();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(broker).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

impl Both {
    async fn start(kind: Kind) -> Arc<Self> {
        Self::of(kind, Fleet::start(RedisServer::start(), "").await).await
    }

    /// Starts those that soon take tokens over from each other.
    async fn start_brief(settings: &str) -> Arc<Self> {
        let fleet = Fleet::start_brief(RedisServer::start(), settings).await;
        Self::of(Kind::Coordinated, fleet).await
    }

    async fn of(kind: Kind, fleet: Fleet<RedisServer>) -> Arc<Self> {
        let fleet = Arc::new(fleet);
        let ways = [way_to(&fleet, 0).await, way_to(&fleet, 1).await];
        let start = |way| Arc::new(AuthServer::start(kind, &fleet.auth_server_args(way)));
        let replicas = Mutex::new(ways.map(start));
        Arc::new(Self {
            fleet,
            kind,
            ways,
            replicas,
        })
    }

    fn replica(&self, number: usize) -> Arc<AuthServer> {
        Arc::clone(&self.replicas.lock().unwrap()[number % 2])
    }

    /// Kills a broker that holds refresh tokens of these sessions, its own or those of an auth server, and starts another one.
    /// Returns how many it held.
    async fn kill_broker(&self, number: usize, sessions: &[String]) -> usize {
        let broker = self.fleet.take(number % 3);
        let pid = broker.process.pid();
        signal("STOP", pid);
        let held = held_by_who_stands_still(&self.fleet.redis, sessions).await;
        signal("KILL", pid);
        self.fleet.start_broker(number % 3).await;
        held
    }

    /// Kills a replica that holds refresh tokens of these sessions, and starts another one. Returns how many it held.
    async fn kill(&self, number: usize, sessions: &[String]) -> usize {
        let pid = self.replica(number).pid();
        signal("STOP", pid);
        let held = held_by_who_stands_still(&self.fleet.redis, sessions).await;
        signal("KILL", pid);
        let way = self.ways[number % 2];
        let next = AuthServer::start(self.kind, &self.fleet.auth_server_args(way));
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

    /// Refreshes rows in rounds, in each of which somebody is killed, until one held something. Returns what the callers got, and how many tokens those held
    /// who were killed.
    async fn under_kills(
        self: &Arc<Self>,
        size: Size,
        kill: impl AsyncFn(&Self, usize, &[String]) -> usize,
    ) -> (BTreeMap<String, Got>, usize) {
        self.fleet.provider.takes(SLOW);
        let (mut got, mut held) = (BTreeMap::new(), 0);
        let rounds = size.rows / A_ROUND;
        for round in 0..rounds + MORE_ROUNDS {
            if round >= rounds && held > 0 {
                break;
            }
            let sessions = self.fleet.store_expired(A_ROUND).await;
            let begun = self.fleet.provider.happened().redemptions;
            let killing = async {
                found("some rows are refreshed", || {
                    (self.fleet.provider.happened().redemptions >= begun + 3).then_some(())
                })
                .await;
                kill(self, round, &sessions).await
            };
            let (all, killed) = tokio::join!(self.all(&sessions, size.callers), killing);
            got.extend(agreed(all));
            held += killed;
        }
        (got, held)
    }

    /// Prints what became of the rows. Returns what happened at the provider, and how many are in doubt.
    fn told(&self, got: &BTreeMap<String, Got>, held: usize) -> (Happened, usize) {
        let (happened, in_doubt) = (self.fleet.provider.happened(), in_doubt(got));
        println!(
            "rows {}, in doubt {in_doubt}, held {held}, {happened:?}",
            got.len()
        );
        (happened, in_doubt)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_servers_and_brokers_redeem_each_refresh_token_once() {
    let size = Size::of(50, 6);
    let both = Both::start(Kind::Coordinated).await;
    let sessions = both.fleet.store_expired(size.rows).await;
    let got = agreed(both.all(&sessions, size.callers).await);
    assert_eq!(tokens(&got), size.rows, "{got:?}");
    both.fleet.redeemed_each_once(size.rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_servers_that_ask_nobody_are_caught() {
    let size = Size::of(20, 6);
    let both = Both::start(Kind::Uncoordinated).await;
    let sessions = both.fleet.store_expired(size.rows).await;
    both.all(&sessions, size.callers).await;
    let happened = both.fleet.provider.happened();
    println!("rows {}, {happened:?}", size.rows);
    assert!(happened.revocations > 0, "{happened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_second_sending_each_token_in_doubt_was_held_by_an_auth_server_that_was_killed() {
    let both = Both::start_brief("replay = \"never\"").await;
    let size = Size::of(A_ROUND, 6);
    let (got, held) = both.under_kills(size, Both::kill).await;
    let (happened, in_doubt) = both.told(&got, held);
    assert_eq!((happened.revocations, happened.refusals), (0, 0));
    assert_eq!(in_doubt, held);
    assert_eq!(tokens(&got) + held, got.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_second_sending_a_login_is_lost_only_where_a_killed_auth_server_had_redeemed() {
    let both = Both::start_brief("").await;
    let size = Size::of(A_ROUND, 6);
    let (got, held) = both.under_kills(size, Both::kill).await;
    let (happened, in_doubt) = both.told(&got, held);
    assert_eq!(happened.revocations as usize, in_doubt);
    assert!(in_doubt <= held);
    assert_eq!(tokens(&got) + in_doubt, got.len());
}

/// An auth server whose broker is killed tells another one what became of its tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_takes_no_auth_server_with_it() {
    let both = Both::start_brief("replay = \"never\"").await;
    let size = Size::of(A_ROUND, 6);
    let (got, held) = both.under_kills(size, Both::kill_broker).await;
    let (happened, in_doubt) = both.told(&got, held);
    assert_eq!((happened.revocations, happened.refusals), (0, 0));
    // What an auth server held isn't in doubt.
    assert!(held > 0 && in_doubt <= held);
    assert_eq!(tokens(&got) + in_doubt, got.len());
}
