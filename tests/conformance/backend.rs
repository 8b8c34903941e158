//! What the suite asks of a backend beside its [`Store`]: to start, and to show a little of its
//! inside where a guarantee can't be seen from the outside.

use std::{future::Future, marker::PhantomData, sync::Arc};

use testkit::{
    audit::encoded,
    broker::{self, Broker},
    redis_tenant::RedisTenant,
    snapshot::Content,
};
use token_broker::{
    store::{Identities, MemoryStore, Store, redis::RedisStore},
    tokens::Rules,
    types::{RowKey, Tenant, UserId},
};

use crate::shared_servers::SharedServers;

/// Data that brokers share, and the brokers. Clones are the same data.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The store under test.
    type Store: Store + Identities;

    /// Begins without any data.
    fn start() -> impl Future<Output = Self> + Send;

    /// Another one of the same kind, without any data.
    fn fresh(&self) -> Self;

    /// The store of one more broker on the same data.
    fn store(&self) -> Self::Store;

    /// Whose data it is.
    fn tenant(&self) -> Tenant;

    /// How many rows the user's index holds, those that are gone among them.
    fn user_index_size(&self, user: &UserId) -> impl Future<Output = usize> + Send;

    /// Breaks the row at `key`, so that it can't be decoded; `false` where that can't happen.
    fn spoil(&self, key: &RowKey) -> bool;

    /// All of the data, comparable.
    fn dump(&self) -> impl PartialEq + Send;

    /// Looks at the data itself for what no reader would notice; panics if it is unsound. Called
    /// after each case.
    fn audit(&self) {}

    /// One more broker on the data.
    fn broker(&self) -> Broker<Self::Store> {
        Broker::new(self.store(), broker::rules(self.tenant()))
    }

    /// One more broker, of another rules.
    fn broker_with(&self, change: impl FnOnce(&mut Rules)) -> Broker<Self::Store> {
        let mut rules = broker::rules(self.tenant());
        change(&mut rules);
        Broker::new(self.store(), rules)
    }
}

/// The memory of one process: all brokers are the same one.
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
        self.0.user_rows(user).await.unwrap().len()
    }

    /// What is kept as a value of Rust needs no decoding.
    fn spoil(&self, _: &RowKey) -> bool {
        false
    }

    /// Its `Debug` shows all that it keeps but the tokens.
    fn dump(&self) -> impl PartialEq + Send {
        format!("{:?}", self.0)
    }
}

/// A tenant on servers that the suite's tests share. Each broker has connections of its own.
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
