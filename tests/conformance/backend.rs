//! What the suite needs from a backend besides its [`Store`]: to start it, and to look inside it
//! where a guarantee isn't visible from outside.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use testkit::{
    audit::encoded,
    broker::{self, Broker},
    redis_tenant::RedisTenant,
    sealing,
    snapshot::Content,
};
use token_broker::{
    store::{
        Authorizations, Identities, MemoryStore, Records, Sealed, Sealing, Store, redis::RedisStore,
    },
    tokens::Rules,
    types::{RowKey, Tenant, UserId},
};

use crate::shared_servers::SharedServers;

/// Data that brokers share, and the brokers. Clones share the same data.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The store under test.
    type Store: Store + Records + Identities + Authorizations;

    /// Returns another backend of the same kind, without any data.
    fn fresh(&self) -> Self;

    /// Returns the store of a new broker on the same data.
    fn store(&self) -> Self::Store;

    /// Returns the tenant that the data belongs to.
    fn tenant(&self) -> Tenant;

    /// Returns how many members the user's index has, including members whose rows are gone.
    fn user_index_size(&self, user: &UserId) -> impl Future<Output = usize> + Send;

    /// Breaks the row at `key`, so that it can't be decoded. Returns `false` if that is impossible
    /// in this backend.
    fn spoil(&self, key: &RowKey) -> bool;

    /// Returns all of the data, in a form that can be compared.
    fn dump(&self) -> impl PartialEq + Send;

    /// Checks the data itself for damage that no reader would notice. Panics if it is unsound. Runs
    /// after each case.
    fn audit(&self) {}

    /// Returns a new broker on the data.
    fn broker(&self) -> Broker<Self::Store> {
        Broker::new(self.store(), broker::rules(self.tenant()))
    }

    /// Returns a new broker with other rules.
    fn broker_with(&self, change: impl FnOnce(&mut Rules)) -> Broker<Self::Store> {
        let mut rules = broker::rules(self.tenant());
        change(&mut rules);
        Broker::new(self.store(), rules)
    }
}

/// Whether rows are sealed. This is no parameter of a type: the compiler would make all cases anew.
///
/// Where they are, the brokers have the same two keys, and every second one seals with the other key: so they do while
/// keys are changed.
#[derive(Clone, Default)]
pub struct Sealings {
    is_on: bool,
    brokers: Arc<AtomicUsize>,
}

impl Sealings {
    fn on() -> Self {
        Self {
            is_on: true,
            ..Self::default()
        }
    }

    /// Returns how a new broker seals.
    fn next(&self, tenant: Tenant) -> Sealing {
        if !self.is_on {
            return Sealing::off(tenant);
        }
        let number = self.brokers.fetch_add(1, Ordering::Relaxed);
        let names = [["new", "old"], ["old", "new"]][number % 2];
        Sealing {
            tenant,
            keys: sealing::keys(&names),
            require_sealed: true,
        }
    }
}

/// The memory of one process. All brokers share it.
#[derive(Clone)]
pub struct MemoryBackend(Arc<MemoryStore>, Sealings);

impl MemoryBackend {
    /// Starts a backend without any data.
    pub async fn start() -> Self {
        Self(Arc::default(), Sealings::default())
    }

    /// Starts a backend without any data, whose rows are sealed.
    pub async fn start_sealed() -> Self {
        Self(Arc::default(), Sealings::on())
    }
}

impl Backend for MemoryBackend {
    type Store = Sealed<Arc<MemoryStore>>;

    fn fresh(&self) -> Self {
        Self(Arc::default(), self.1.clone())
    }

    fn store(&self) -> Self::Store {
        Sealed::new(Arc::clone(&self.0), self.1.next(self.tenant()))
    }

    fn tenant(&self) -> Tenant {
        "default:default".parse().unwrap()
    }

    async fn user_index_size(&self, user: &UserId) -> usize {
        let rows = self.0.user_rows(user, None, usize::MAX).await.unwrap();
        rows.keys.len()
    }

    /// The rows are Rust values and need no decoding.
    fn spoil(&self, _: &RowKey) -> bool {
        false
    }

    /// The store's `Debug` shows everything except the tokens.
    fn dump(&self) -> impl PartialEq + Send {
        format!("{:?}", self.0)
    }
}

/// A tenant on servers that the suite's tests share. Each broker has its own connections.
///
/// The servers aren't a parameter of the type: the compiler would make all cases anew for each of them, which takes
/// minutes.
#[derive(Clone)]
pub struct OnRedis {
    tenant: RedisTenant,
    /// If it is there, it is the one store of all brokers.
    one_store: Option<RedisStore>,
    sealings: Sealings,
}

impl OnRedis {
    /// Starts a backend without any data on these servers.
    pub async fn start<P: SharedServers>() -> Self {
        Self {
            tenant: RedisTenant::on(P::shared().await),
            one_store: None,
            sealings: Sealings::default(),
        }
    }

    /// Starts a backend without any data on these servers, whose rows are sealed.
    pub async fn start_sealed<P: SharedServers>() -> Self {
        Self {
            sealings: Sealings::on(),
            ..Self::start::<P>().await
        }
    }

    /// Gives all brokers one store, and returns it.
    pub fn share_one_store(&mut self) -> &RedisStore {
        self.one_store.insert(self.tenant.store())
    }
}

impl Backend for OnRedis {
    type Store = Sealed<RedisStore>;

    /// If brokers share a store, those of the new backend share another one.
    fn fresh(&self) -> Self {
        let tenant = self.tenant.another();
        let one_store = self.one_store.is_some().then(|| tenant.store());
        Self {
            tenant,
            one_store,
            sealings: self.sealings.clone(),
        }
    }

    fn store(&self) -> Self::Store {
        let shared = self.one_store.clone();
        let store = shared.unwrap_or_else(|| self.tenant.store());
        Sealed::new(store, self.sealings.next(self.tenant()))
    }

    fn tenant(&self) -> Tenant {
        self.tenant.name().clone()
    }

    async fn user_index_size(&self, user: &UserId) -> usize {
        let index = format!("user:upstream:{}", encoded(user.as_str()));
        match self.tenant.snapshot().get(&self.tenant.key(&index)) {
            Some(value) => match &value.content {
                Content::Set(members) => members.len(),
                other => panic!("an index is a set, not {other:?}"),
            },
            None => 0,
        }
    }

    fn spoil(&self, key: &RowKey) -> bool {
        let (session, provider) = (key.session.as_str(), key.provider.as_str());
        let row = format!("upstream:{}:{}", encoded(session), encoded(provider));
        let mut set = redis::cmd("SET");
        set.arg(self.tenant.key(&row))
            .arg("{\"access_token\":")
            .arg("KEEPTTL");
        set.exec(&mut self.tenant.raw()).unwrap();
        true
    }

    fn dump(&self) -> impl PartialEq + Send {
        self.tenant.snapshot()
    }

    fn audit(&self) {
        self.tenant.audit();
    }
}
