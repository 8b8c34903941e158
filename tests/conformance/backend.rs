//! What the suite needs from a backend besides its [`Store`]: to start it, and to look inside it
//! where a guarantee isn't visible from outside.

use std::{future::Future, marker::PhantomData, sync::Arc};

use testkit::{
    audit::encoded,
    broker::{self, Broker},
    redis_tenant::RedisTenant,
    snapshot::Content,
};
use token_broker::{
    store::{Identities, MemoryStore, Records, Store, redis::RedisStore},
    tokens::Rules,
    types::{RowKey, Tenant, UserId},
};

use crate::shared_servers::SharedServers;

/// Data that brokers share, and the brokers. Clones share the same data.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The store under test.
    type Store: Store + Records + Identities;

    /// Starts a backend without any data.
    fn start() -> impl Future<Output = Self> + Send;

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

/// The memory of one process. All brokers are the same one.
#[derive(Clone)]
pub struct MemoryBackend(Arc<MemoryStore>);

impl Backend for MemoryBackend {
    type Store = Arc<MemoryStore>;

    async fn start() -> Self {
        Self(Arc::default())
    }

    fn fresh(&self) -> Self {
        Self(Arc::default())
    }

    fn store(&self) -> Self::Store {
        Arc::clone(&self.0)
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
pub struct On<P>(pub RedisTenant, PhantomData<P>);

impl<P> Clone for On<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<P: SharedServers> Backend for On<P> {
    type Store = RedisStore;

    async fn start() -> Self {
        Self(RedisTenant::on(P::shared().await), PhantomData)
    }

    fn fresh(&self) -> Self {
        Self(self.0.another(), PhantomData)
    }

    fn store(&self) -> RedisStore {
        self.0.store()
    }

    fn tenant(&self) -> Tenant {
        self.0.name().clone()
    }

    async fn user_index_size(&self, user: &UserId) -> usize {
        let index = format!("user:upstream:{}", encoded(user.as_str()));
        match self.0.snapshot().get(&self.0.key(&index)) {
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
        set.arg(self.0.key(&row))
            .arg("{\"access_token\":")
            .arg("KEEPTTL");
        set.exec(&mut self.0.raw()).unwrap();
        true
    }

    fn dump(&self) -> impl PartialEq + Send {
        self.0.snapshot()
    }

    fn audit(&self) {
        self.0.audit();
    }
}
