//! A broker on Redis that has read sessions before. So it guesses which providers a session has, from the first read on.

use testkit::rows::{bare, key, session};
use token_broker::{
    store::{Condition, Put, Store, redis::RedisStore},
    types::{RowKey, Tenant, UserId, Version},
};

use crate::{
    backend::{Backend, On},
    shared_servers::Tcp,
};

/// The providers of most cases, and one that no case has. Others are guessed after they were read once.
const PROVIDERS: [&str; 3] = ["p", "q", "never"];

/// A tenant on a single server, and the one store of all brokers.
#[derive(Clone)]
pub struct Guessing(On<Tcp>, RedisStore);

impl Backend for Guessing {
    type Store = RedisStore;

    async fn start() -> Self {
        let on = On::start().await;
        let store = on.store();
        let row = bare("at");
        let before = session("before");
        for provider in PROVIDERS {
            let put = Put {
                key: &key("before", provider),
                row: &row,
                version: Version::random(),
                keep_for: None,
                condition: Condition::Always,
                source: None,
                max_providers: PROVIDERS.len(),
            };
            store.put(put).await.unwrap();
        }
        assert_eq!(store.get_session(&before).await.unwrap().len(), 3);
        assert_eq!(store.delete_session(&before).await.unwrap(), 3);
        Self(on, store)
    }

    /// Returns a backend whose first read has nothing to guess.
    fn fresh(&self) -> Self {
        let on = self.0.fresh();
        let store = on.store();
        Self(on, store)
    }

    fn store(&self) -> RedisStore {
        self.1.clone()
    }

    fn tenant(&self) -> Tenant {
        self.0.tenant()
    }

    async fn user_index_size(&self, user: &UserId) -> usize {
        self.0.user_index_size(user).await
    }

    fn spoil(&self, key: &RowKey) -> bool {
        self.0.spoil(key)
    }

    fn dump(&self) -> impl PartialEq + Send {
        self.0.dump()
    }

    fn audit(&self) {
        self.0.audit();
    }
}
