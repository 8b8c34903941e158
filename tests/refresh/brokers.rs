//! Brokers that share a store and a provider, each with a runtime of its own, so that one can die.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use testkit::{
    broker, provider, redis_server::RedisServer, redis_tenant::RedisTenant,
    rotating_provider::RotatingProvider, rows,
};
use token_broker::{
    error::Error,
    refresh::provider::ProviderOptions,
    store::{Identities, MemoryStore, Put, PutOutcome, Records, Sealed, Store, redis::RedisStore},
    tokens::{Binding, StoreTokens, Tokens, Wanted},
    types::{Row, RowKey, StoredRow, Tenant, Version},
};
use tokio::{runtime::Runtime, time::Instant};

use crate::failpoints::Failpoints;

/// The name of the provider.
pub const PROVIDER: &str = "p";

/// How long a call waits, unless the test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Rows and records that several brokers share.
pub trait Shared {
    /// What a broker has of it.
    type Store: Store + Records + Identities + Clone;

    /// Opens it for one more broker.
    fn open(&self) -> Self::Store;
}

impl Shared for Arc<MemoryStore> {
    type Store = Self;

    fn open(&self) -> Self {
        Arc::clone(self)
    }
}

impl Shared for RedisTenant {
    type Store = Sealed<RedisStore>;

    /// What is on Redis is sealed, and what is in memory isn't.
    fn open(&self) -> Self::Store {
        self.sealed_store(&["k"])
    }
}

/// Returns a new tenant on the Redis that the tests share.
pub fn redis() -> RedisTenant {
    RedisTenant::on(RedisServer::shared())
}

/// A broker.
pub struct Process<S> {
    runtime: Option<Runtime>,
    pub store: Failpoints<S>,
    pub tokens: Arc<Tokens<Failpoints<S>>>,
}

/// Returns the options for the provider. It answers quickly or not at all, but on a slow machine it may take a while.
pub fn options(at: &RotatingProvider) -> ProviderOptions {
    options_at(&at.url())
}

/// Returns the same for the provider with this token endpoint.
pub fn options_at(url: &str) -> ProviderOptions {
    let mut options = provider::options(PROVIDER);
    options.endpoints.token = Some(url.parse().unwrap());
    options.timeout = Duration::from_secs(5);
    options.connect_timeout = Duration::from_secs(10);
    options.max_concurrent = 1_000;
    options.max_rate = 100_000;
    options.max_waiters = 100_000;
    options
}

impl<S: Store + Records + Clone> Process<S> {
    /// Starts a broker on the data.
    pub fn start(store: S, options: ProviderOptions) -> Self {
        Self::start_with(store, [options])
    }

    /// Starts so many brokers on the data.
    pub fn start_all(count: usize, store: &S, options: &ProviderOptions) -> Vec<Self> {
        let start = |_| Self::start(store.clone(), options.clone());
        (0..count).map(start).collect()
    }

    /// Starts a broker on the data, with these providers.
    pub fn start_with(store: S, options: impl IntoIterator<Item = ProviderOptions>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = Failpoints::new(store);
        let tenant: Tenant = "test:refresh".parse().unwrap();
        let mut rules = broker::rules(tenant);
        rules.providers = provider::providers(options);
        Self {
            runtime: Some(runtime),
            tokens: Arc::new(Tokens::new(store.clone(), rules)),
            store,
        }
    }

    /// Runs something on the broker.
    pub fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Tokens<Failpoints<S>>>) -> F,
    ) -> Pin<Box<dyn Future<Output = T> + Send>> {
        let task = self
            .runtime
            .as_ref()
            .unwrap()
            .spawn(work(Arc::clone(&self.tokens)));
        Box::pin(async { task.await.unwrap() })
    }

    /// Asks for an access token.
    pub fn get(
        &self,
        key: &RowKey,
        wanted: Wanted,
    ) -> Pin<Box<dyn Future<Output = Result<StoredRow, Error>> + Send>> {
        self.get_within(key, wanted, PATIENCE)
    }

    /// Asks for an access token, for this long.
    pub fn get_within(
        &self,
        key: &RowKey,
        wanted: Wanted,
        patience: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<StoredRow, Error>> + Send>> {
        let key = key.clone();
        self.run(move |tokens| async move {
            let deadline = Instant::now() + patience;
            tokens
                .access_token(&key, &wanted, &Binding::default(), deadline)
                .await
        })
    }

    /// Stores a row.
    pub async fn put(&self, key: &RowKey, row: Row) -> Result<Version, Error> {
        let request = StoreTokens {
            key: key.clone(),
            row,
            precondition: None,
            carry_forward: false,
        };
        self.run(move |tokens| async move { tokens.store(request).await })
            .await
    }

    /// Writes a row as it is, with the time at which its tokens were obtained.
    pub async fn plant(&self, key: &RowKey, row: &Row) -> Version {
        let version = Version::random();
        let put = Put {
            version,
            ..rows::put_always(key, row)
        };
        let outcome = self.store.put(put).await.unwrap();
        assert_eq!(outcome, PutOutcome::Written);
        version
    }

    /// Reads a row.
    pub async fn read(&self, key: &RowKey) -> Result<StoredRow, Error> {
        let key = key.clone();
        self.run(move |tokens| async move { tokens.get(&key, &Binding::default()).await })
            .await
    }

    /// The process dies: whatever it does ends here.
    pub fn dies(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<S> Drop for Process<S> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A row whose access token has expired.
pub fn expired(refresh_token: &str) -> Row {
    Row {
        access_token: rows::secret("old"),
        refresh_token: rows::secret(refresh_token),
        expires_at: rows::in_seconds(-10),
        user_id: Some(rows::user("u")),
        ..Row::default()
    }
}

/// A row whose access token was obtained an hour ago, and has so many seconds left.
pub fn ending(refresh_token: &str, left: i64) -> Row {
    Row {
        expires_at: rows::in_seconds(left),
        updated_at: rows::in_seconds(left - 3_600),
        ..expired(refresh_token)
    }
}

/// Returns the key of the row of a session.
pub fn key(session: &str) -> RowKey {
    rows::key(session, PROVIDER)
}

/// Returns the access token of a row.
pub fn access_token(stored: &StoredRow) -> &str {
    stored.row.access_token.as_ref().unwrap().expose()
}
