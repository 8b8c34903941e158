//! Refreshers as others have them, each with a flaw. They show that a test would notice it.

use std::{sync::Arc, time::Duration};

use testkit::rows::put_always;
use token_broker::{
    refresh::provider::{Answer, Provider, ProviderOptions},
    store::{MemoryStore, Store},
    types::{Row, RowKey, StoredRow, UnixTime},
};

/// What all of them have: the rows, and the provider.
pub struct Naive {
    store: Arc<MemoryStore>,
    provider: Provider,
}

impl Naive {
    pub fn new(store: &Arc<MemoryStore>, options: ProviderOptions) -> Self {
        Self {
            store: Arc::clone(store),
            provider: Provider::new(options),
        }
    }

    /// Reads a row.
    pub async fn read(&self, key: &RowKey) -> StoredRow {
        self.store.get(key).await.unwrap().unwrap().unwrap()
    }

    /// Redeems the refresh token of a row, whoever else does. Returns the row with the new tokens.
    pub async fn redeem(&self, row: &Row) -> Result<Row, Answer> {
        let prepared = self.provider.prepare().await.unwrap();
        let answer = match prepared.send(row.refresh_token.as_ref().unwrap()).await {
            Answer::Tokens(answer) => answer,
            other => return Err(other),
        };
        Ok(Row {
            access_token: Some(answer.access_token),
            refresh_token: answer.refresh_token.or_else(|| row.refresh_token.clone()),
            expires_at: answer.expires_in.map(|life| UnixTime::now().plus(life)),
            ..row.clone()
        })
    }

    /// Writes a row, whatever is there.
    pub async fn write(&self, key: &RowKey, row: &Row) {
        let put = put_always(key, row);
        self.store.put(put).await.unwrap();
    }

    /// Returns a row that is valid for longer than `margin`: redeems first if it isn't.
    pub async fn valid_for(&self, key: &RowKey, margin: Duration) -> Row {
        let row = self.read(key).await.row;
        let until = UnixTime::now().plus(margin);
        if row.expires_at.is_some_and(|at| at > until) {
            return row;
        }
        let refreshed = self.redeem(&row).await.unwrap();
        self.write(key, &refreshed).await;
        refreshed
    }
}
