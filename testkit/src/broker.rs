//! A broker for tests: [`Tokens`], with short helpers for what tests do most.

use std::{collections::BTreeMap, ops::Deref, sync::Arc, time::Duration};

use token_broker::{
    audit::Witness,
    error::Error,
    store::{Put, PutOutcome, Store},
    tokens::{Binding, Limits, Precondition, Rules, StoreTokens, Tokens},
    types::{ProviderName, Row, RowKey, SessionId, StoredRow, Tenant, UserId, Version},
};

use crate::{
    provider,
    rows::{DAY, put_always},
};

/// A broker. Clones share everything.
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

/// Returns the default rules, which the tests use.
pub fn rules(tenant: Tenant) -> Rules {
    Rules {
        tenant,
        limits: Limits::default(),
        refresh_lifetime: 30 * DAY,
        refresh_in_grace: false,
        providers: provider::providers([provider::options_at_issuer(
            "rotating",
            "https://rotating.example",
        )]),
        witness: Witness::default(),
        patience: Duration::from_secs(1),
        persistence: Rules::PERSISTENCE,
    }
}

/// Returns a request without conditions.
pub fn request(key: &RowKey, row: &Row) -> StoreTokens {
    StoreTokens {
        key: key.clone(),
        row: row.clone(),
        precondition: None,
        carry_forward: false,
    }
}

impl<S: Store> Broker<S> {
    /// Returns a broker that keeps its rows in `store`.
    pub fn new(store: S, rules: Rules) -> Self {
        Self(Arc::new(Tokens::new(store, rules)))
    }

    /// Stores a row unconditionally.
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

    /// Stores a row. If it has no refresh token, it keeps the one that the broker knows.
    pub async fn put_carrying(&self, key: &RowKey, row: &Row) -> Version {
        let request = StoreTokens {
            carry_forward: true,
            ..request(key, row)
        };
        self.store(request).await.unwrap()
    }

    /// Stores a row that expires after `span`, which may be shorter than [`Tokens::store`] allows.
    pub async fn put_for(&self, key: &RowKey, row: &Row, span: Duration) -> Version {
        let version = Version::random();
        let put = Put {
            version,
            keep_for: Some(span),
            ..put_always(key, row)
        };
        let outcome = self.backend().put(put).await.unwrap();
        assert_eq!(outcome, PutOutcome::Written);
        version
    }

    /// Returns the row, if there is one.
    pub async fn read(&self, key: &RowKey) -> Option<StoredRow> {
        match self.get(key, &Binding::default()).await {
            Ok(stored) => Some(stored),
            Err(Error::RowNotFound) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Returns the row's version, as a reader sees it.
    pub async fn version(&self, key: &RowKey) -> Option<Version> {
        self.read(key).await.map(|stored| stored.version)
    }

    /// Returns the rows of a session. Panics if a row is unreadable.
    pub async fn rows_of(&self, session: &SessionId) -> BTreeMap<ProviderName, StoredRow> {
        let found = self
            .get_all(session, &Binding::default(), &Default::default())
            .await
            .unwrap();
        assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
        found.rows
    }

    /// Deletes a row, and returns whether there was one.
    pub async fn remove(&self, key: &RowKey) -> bool {
        self.delete(key, None).await.unwrap()
    }

    /// Returns all rows that the listing of a user shows, over all pages, in the order of their keys.
    pub async fn listed(&self, user: &UserId) -> Vec<RowKey> {
        let mut keys = Vec::new();
        let mut next = None;
        loop {
            let page = self
                .list_user_sessions(user, 1_000, next.as_deref(), &Default::default())
                .await;
            let page = page.unwrap();
            keys.extend(page.sessions.into_iter().map(|session| session.key));
            next = page.next;
            if next.is_none() {
                keys.sort_unstable();
                return keys;
            }
        }
    }
}
