//! `Delete`, `DeleteUser` and `Store` while a row is refreshed (I4, R3).

use std::{sync::Arc, time::Duration};

use testkit::{
    provider,
    rotating_provider::{Fault, RotatingProvider, Rules},
    rows,
    waiting::until,
};
use token_broker::{
    error::Error,
    store::{Identities, MemoryStore, Records, Store},
    tokens::{Binding, Precondition, StoreTokens, Tokens, Wanted},
    types::{Row, RowKey, StoredRow, Version},
};
use tokio::{task::JoinSet, time::sleep};

use crate::brokers::{Process, Shared, access_token, expired, key, options};

/// How often each race is run.
fn rounds() -> usize {
    let name = "REFRESH_RACES";
    std::env::var(name).map_or(200, |count| count.parse().unwrap())
}

/// How many races run at the same time.
const AT_ONCE: usize = 20;

/// A provider and two brokers on the same rows.
struct Scene<S> {
    provider: RotatingProvider,
    store: S,
    brokers: Vec<Process<S>>,
    /// One more, for what isn't about tokens alone.
    other: Tokens<S>,
}

/// Runs each race in memory, and on Redis.
macro_rules! races {
    ($($name:ident,)*) => {
        mod in_memory {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(Arc::new(MemoryStore::new())).await;
                }
            )*
        }
        mod on_redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::brokers::redis()).await;
                }
            )*
        }
    };
}

races! {
    delete_and_a_refresh,
    delete_user_and_a_refresh,
    a_login_and_a_refresh,
    the_same_refresh_token_and_a_refresh,
    a_redeemed_refresh_token_is_stored,
}

/// One race.
struct Race<S> {
    scene: Arc<Scene<S>>,
    number: usize,
    key: RowKey,
    refresh_token: String,
}

impl<S: Store + Records + Identities + Clone> Scene<S> {
    async fn start(data: impl Shared<Store = S>) -> Arc<Self> {
        let provider = RotatingProvider::start(Rules::default()).await;
        // Redeemed at once, and answered a little later.
        provider.fail(|_| Fault {
            after: Duration::from_millis(4),
            ..Fault::default()
        });
        let mut rules = testkit::broker::rules("test:refresh".parse().unwrap());
        rules.providers = provider::providers([options(&provider)]);
        Arc::new(Self {
            brokers: (0..2)
                .map(|_| Process::start(data.open(), options(&provider)))
                .collect(),
            other: Tokens::new(data.open(), rules),
            store: data.open(),
            provider,
        })
    }

    /// Runs a race again and again: `work` is done at different times while the row is refreshed.
    async fn race<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        work: impl Fn(Race<S>) -> F,
    ) {
        let mut races = JoinSet::new();
        for number in 0..rounds() {
            while races.len() >= AT_ONCE {
                races.join_next().await.unwrap().unwrap();
            }
            let race = Race {
                scene: Arc::clone(self),
                number,
                key: key(&format!("s{number}")),
                refresh_token: self.provider.log_in(),
            };
            races.spawn(work(race));
        }
        while let Some(race) = races.join_next().await {
            race.unwrap();
        }
        assert_eq!(self.provider.tally().replays, 0);
    }
}

impl<S: Store + Records + Identities + Clone> Race<S> {
    fn row(&self) -> Row {
        let mut row = expired(&self.refresh_token);
        row.user_id = Some(rows::user(&format!("u{}", self.number)));
        row
    }

    /// Stores the row, asks for an access token, and does `work` some time later.
    async fn run<T>(&self, work: impl AsyncFnOnce(Version) -> T) -> (Result<StoredRow, Error>, T) {
        let [one, two] = &self.scene.brokers[..] else {
            panic!("there are two brokers");
        };
        let version = one.put(&self.key, self.row()).await.unwrap();
        let calls = [one, two, one].map(|broker| broker.get(&self.key, Wanted::default()));
        let calls = futures_util::future::join_all(calls);
        let later = Duration::from_micros(500 * (self.number as u64 % 24));
        let (mut got, done) = tokio::join!(calls, async {
            sleep(later).await;
            work(version).await
        });
        (got.swap_remove(0), done)
    }

    async fn read(&self) -> Option<StoredRow> {
        let read = self.scene.other.get(&self.key, &Binding::default()).await;
        match read {
            Ok(stored) => Some(stored),
            Err(Error::RowNotFound) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn store(&self, row: Row, precondition: Option<Precondition>) -> Result<Version, Error> {
        let request = StoreTokens {
            key: self.key.clone(),
            row,
            precondition,
            carry_forward: false,
        };
        self.scene.other.store(request).await
    }

    /// Waits until nobody has the row's refresh token any more.
    async fn is_over(&self) {
        until("no attempt is open", async || {
            let seen = self.scene.store.look(&self.key);
            let record = seen.await.unwrap().record;
            record
                .entries()
                .iter()
                .all(|entry| entry.running().is_none())
        })
        .await;
    }
}

async fn delete_and_a_refresh<D: Shared>(data: D) {
    let scene = Scene::start(data).await;
    let race = |race: Race<D::Store>| async move {
        let other = &race.scene.other;
        let (got, deleted) = race
            .run(async |_| other.delete(&race.key, None).await.unwrap())
            .await;
        race.is_over().await;
        assert!(deleted);
        assert!(race.read().await.is_none(), "a deleted row is back");
        match got {
            Ok(stored) => assert_ne!(access_token(&stored), "old"),
            Err(Error::RowNotFound) => {}
            Err(error) => panic!("{error:?}"),
        }
    };
    scene.race(race).await;
    let user_rows = scene.store.user_rows(&rows::user("u0"), None, 10).await;
    assert!(user_rows.unwrap().keys.is_empty());
}

async fn delete_user_and_a_refresh<D: Shared>(data: D) {
    let scene = Scene::start(data).await;
    let race = |race: Race<D::Store>| async move {
        let user = race.row().user_id.unwrap();
        let other = &race.scene.other;
        let (got, deleted) = race
            .run(async |_| other.delete_user(&user).await.unwrap())
            .await;
        race.is_over().await;
        assert_eq!(deleted.rows, 1);
        assert!(race.read().await.is_none(), "a deleted row is back");
        assert!(
            got.is_ok() || matches!(got, Err(Error::RowNotFound)),
            "{got:?}"
        );
        let left = race.scene.store.user_rows(&user, None, 10).await.unwrap();
        assert!(left.keys.is_empty());
    };
    scene.race(race).await;
}

/// A login of the user again: it is newer than what the refresh brings.
async fn a_login_and_a_refresh<D: Shared>(data: D) {
    let scene = Scene::start(data).await;
    let race = |race: Race<D::Store>| async move {
        let mut login = expired(&race.scene.provider.log_in());
        login.access_token = rows::secret("login");
        login.expires_at = rows::in_seconds(3_600);
        let (got, stored) = race
            .run(async |_| race.store(login.clone(), None).await.unwrap())
            .await;
        race.is_over().await;
        let left = race.read().await.unwrap();
        assert_eq!((left.version, access_token(&left)), (stored, "login"));
        assert_eq!(rows::refresh_token(&left.row), rows::refresh_token(&login));
        assert_ne!(access_token(&got.unwrap()), "old");
    };
    scene.race(race).await;
}

/// Somebody stores the same refresh token again, with another scope: the result lands on that row.
async fn the_same_refresh_token_and_a_refresh<D: Shared>(data: D) {
    let scene = Scene::start(data).await;
    let race = |race: Race<D::Store>| async move {
        let mut again = race.row();
        again.scopes = vec!["again".to_owned()];
        let precondition = |version| {
            race.number
                .is_multiple_of(2)
                .then_some(Precondition::Version(version))
        };
        let (got, stored) = race
            .run(async |version| race.store(again.clone(), precondition(version)).await)
            .await;
        race.is_over().await;
        assert!(race.scene.provider.accepts(access_token(&got.unwrap())));
        let left = race.read().await.unwrap();
        assert!(
            race.scene.provider.accepts(access_token(&left)),
            "the result is lost"
        );
        match stored {
            // It was stored before the result, which has what was stored.
            Ok(version) => {
                assert_eq!(left.row.scopes, again.scopes);
                assert_ne!(left.version, version);
            }
            Err(Error::RefreshTokenRedeemed | Error::VersionMismatch) => {
                assert!(left.row.scopes.is_empty());
            }
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(race.scene.provider.sent(&race.refresh_token), 1);
    };
    scene.race(race).await;
}

/// A refresh token that was redeemed can't be stored again: its caller read the row before the refresh.
async fn a_redeemed_refresh_token_is_stored<D: Shared>(data: D) {
    let scene = Scene::start(data).await;
    let race = Race {
        key: key("s"),
        number: 0,
        refresh_token: scene.provider.log_in(),
        scene,
    };
    let (got, ()) = race.run(async |_| ()).await;
    let left = got.unwrap();
    for precondition in [None, Some(Precondition::Version(left.version))] {
        let stored = race.store(race.row(), precondition).await;
        assert!(
            matches!(stored, Err(Error::RefreshTokenRedeemed)),
            "{stored:?}"
        );
        assert_eq!(race.read().await.unwrap(), left);
    }
    // Also when the row has gone, as long as the record is there.
    race.scene.other.delete(&race.key, None).await.unwrap();
    let stored = race.store(race.row(), None).await;
    assert!(
        matches!(stored, Err(Error::RefreshTokenRedeemed)),
        "{stored:?}"
    );
    assert!(race.read().await.is_none());
    assert_eq!(race.scene.provider.tally().requests, 1);
}
