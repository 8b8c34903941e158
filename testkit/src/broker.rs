//! A broker as the tests speak to it: [`Tokens`], with the words that tests use most.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use token_broker::{
    error::Error,
    store::{Condition, Put, PutOutcome, Store},
    tokens::{Binding, Limits, Precondition, Rules, StoreTokens, Tokens},
    types::{ProviderName, Row, RowKey, SessionId, StoredRow, Tenant, UserId, Version},
};

use crate::rows::{self, DAY};

/// One broker; clones are the same one.
pub struct Broker<S>(Arc<Tokens<S>>);

impl<S> Clone for Broker<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Deref for Broker<S> {
    type Target = Arc<Tokens<S>>;

    fn deref(&self) -> &Arc<Tokens<S>> {
        &self.0
    }
}

/// The rules of the tests: the defaults.
pub fn rules(tenant: Tenant) -> Rules {
    Rules {
        tenant,
        limits: Limits::default(),
        refresh_lifetime: 30 * DAY,
        rotating_providers: HashSet::from([rows::provider("rotating")]),
        patience: Duration::from_secs(1),
    }
}

/// A request without conditions.
pub fn request(key: &RowKey, row: &Row) -> StoreTokens {
    StoreTokens {
        key: key.clone(),
        row: row.clone(),
        precondition: None,
        carry_forward: false,
    }
}

impl<S: Store> Broker<S> {
    /// A broker that keeps its rows in `store`.
    pub fn new(store: S, rules: Rules) -> Self {
        Self(Arc::new(Tokens::new(store, rules)))
    }

    /// Stores a row, whatever is there.
    pub async fn put(&self, key: &RowKey, row: &Row) -> Version {
        self.store(request(key, row)).await.unwrap()
    }

    /// Stores a row on a condition.
    pub async fn put_if(
        &self,
        key: &RowKey,
        row: &Row,
        precondition: Precondition,
    ) -> Result<Version, Error> {
        let request = StoreTokens {
            precondition: Some(precondition),
            ..request(key, row)
        };
        self.store(request).await
    }

    /// Stores a row that keeps the refresh token that is known, where it brings none.
    pub async fn put_carrying(&self, key: &RowKey, row: &Row) -> Version {
        let request = StoreTokens {
            carry_forward: true,
            ..request(key, row)
        };
        self.store(request).await.unwrap()
    }

    /// Stores a row that the store forgets after `span`, which may be shorter than
    /// [`Tokens::store`] allows.
    pub async fn put_for(&self, key: &RowKey, row: &Row, span: Duration) -> Version {
        let version = Version::random();
        let put = Put {
            key,
            row,
            version,
            keep_for: Some(span),
            condition: Condition::Always,
            source: None,
            max_providers: usize::MAX,
        };
        let outcome = self.backend().put(put).await.unwrap();
        assert_eq!(outcome, PutOutcome::Written);
        version
    }

    /// The row, if there is one.
    pub async fn read(&self, key: &RowKey) -> Option<StoredRow> {
        match self.get(key, &Binding::default()).await {
            Ok(stored) => Some(stored),
            Err(Error::RowNotFound) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// The row's version, as a reader sees it.
    pub async fn version(&self, key: &RowKey) -> Option<Version> {
        self.read(key).await.map(|stored| stored.version)
    }

    /// The rows of a session, all of which can be read.
    pub async fn rows_of(&self, session: &SessionId) -> BTreeMap<ProviderName, StoredRow> {
        let found = self.get_all(session, &Binding::default()).await.unwrap();
        assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
        found.rows
    }

    /// Deletes a row; answers whether there was one.
    pub async fn remove(&self, key: &RowKey) -> bool {
        self.delete(key, None).await.unwrap()
    }

    /// All rows that the listing of a user shows, page by page.
    pub async fn listed(&self, user: &UserId) -> Vec<RowKey> {
        let mut keys = Vec::new();
        let mut next = None;
        loop {
            let page = self.list_user_sessions(user, 1_000, next.as_deref()).await;
            let page = page.unwrap();
            keys.extend(page.sessions.into_iter().map(|session| session.key));
            next = page.next;
            if next.is_none() {
                return keys;
            }
        }
    }
}
