//! An auth server that redeems refresh tokens itself, and brokers on the same records.

use std::{sync::Arc, time::Duration};

use testkit::rotating_provider::{RotatingProvider, Rules};
use token_broker::{
    error::Error,
    refresh::{
        Begun, Completed, Completion, Outcome,
        provider::{Answer, Provider, Replay, Rotation, TokenAnswer},
    },
    store::MemoryStore,
    tokens::Wanted,
    types::{AttemptId, Row, RowKey, Secret, StoredRow, Subject, TokenHash, Version},
};

use crate::brokers::{Process, access_token, expired, key, options};

pub type Broker = Process<Arc<MemoryStore>>;

/// A provider, two brokers, and a row that has expired.
pub struct Scene {
    pub provider: RotatingProvider,
    pub brokers: Vec<Broker>,
    pub key: RowKey,
    pub token: String,
    pub version: Version,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(Replay::AsRotationAllows).await
    }

    pub async fn with(replay: Replay) -> Self {
        let provider = RotatingProvider::start(Rules::default()).await;
        let mut options = options(&provider);
        (options.rotation, options.replay) = (Rotation::Strict, replay);
        let brokers = Process::start_all(2, &Arc::new(MemoryStore::new()), &options);
        let (key, token) = (key("s"), provider.log_in());
        let version = brokers[0].put(&key, expired(&token)).await.unwrap();
        Self {
            provider,
            brokers,
            key,
            token,
            version,
        }
    }

    /// The row is another one, of which nothing is in a record.
    pub async fn planted(self, change: impl FnOnce(Row) -> Row) -> Self {
        let row = change(expired(&self.token));
        let version = self.brokers[0].plant(&self.key, &row).await;
        Self { version, ..self }
    }

    /// The row names the subject of the provider.
    pub async fn of_subject() -> Self {
        let named = |row| Row {
            upstream_subject: Subject::new("subject").ok(),
            ..row
        };
        Self::new().await.planted(named).await
    }

    /// The auth server asks for the right to redeem the token.
    pub async fn begin(&self, id: u128) -> Result<Begun, Error> {
        self.begin_at(0, id).await
    }

    pub async fn begin_at(&self, broker: usize, id: u128) -> Result<Begun, Error> {
        let (key, version) = (self.key.clone(), self.version);
        let begin = self.brokers[broker].run(move |tokens| async move {
            let attempt = AttemptId::from_number(id);
            tokens
                .begin_refresh(&key, version, attempt, &Default::default())
                .await
        });
        begin.await
    }

    pub async fn renew(&self, id: u128) -> Option<Duration> {
        let (key, hash) = (self.key.clone(), self.hash());
        let renew = self.brokers[0].run(move |tokens| async move {
            let attempt = AttemptId::from_number(id);
            tokens.renew_refresh(&key, hash, attempt).await
        });
        renew.await.unwrap()
    }

    /// The auth server tells what came of it.
    pub async fn complete(&self, id: u128, outcome: Outcome) -> Completed {
        self.complete_for(self.hash(), id, outcome).await.unwrap()
    }

    pub async fn complete_for(
        &self,
        token: TokenHash,
        id: u128,
        outcome: Outcome,
    ) -> Result<Completed, Error> {
        let key = self.key.clone();
        let completion = Completion {
            attempt: AttemptId::from_number(id),
            token,
            version: self.version,
            outcome,
        };
        let complete = self.brokers[1].run(move |tokens| async move {
            tokens
                .complete_refresh(&key, completion, &Default::default())
                .await
        });
        complete.await
    }

    /// The auth server redeems the token.
    pub async fn redeem(&self) -> Outcome {
        let provider = Provider::new(options(&self.provider));
        let prepared = provider.prepare().await.unwrap();
        match prepared.send(&self.secret()).await {
            Answer::Tokens(tokens) => Outcome::Tokens(tokens),
            Answer::Refused { .. } => Outcome::Refused,
            other => panic!("{other:?}"),
        }
    }

    pub fn secret(&self) -> Secret {
        Secret::new(self.token.clone()).unwrap()
    }

    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.secret())
    }

    pub async fn get(&self) -> Result<StoredRow, Error> {
        self.brokers[1].get(&self.key, Wanted::default()).await
    }

    pub async fn assert_row_is(&self, completed: &Completed) {
        let Completed::Row(stored) = completed else {
            panic!("{completed:?}");
        };
        assert!(self.provider.accepts(access_token(stored)));
        let read = self.brokers[0].read(&self.key).await.unwrap();
        assert_eq!(read.version, stored.version);
    }

    pub fn assert_sent(&self, count: usize) {
        assert_eq!(self.provider.sent(&self.token), count);
    }
}

pub fn is_lease(begun: &Result<Begun, Error>) -> bool {
    matches!(begun, Ok(Begun::Lease { .. }))
}

/// An answer with these tokens.
pub fn told(refresh_token: Option<&str>, id_token: Option<&str>) -> Outcome {
    let secret = |text: &str| Secret::new(text.to_owned()).unwrap();
    Outcome::Tokens(Box::new(TokenAnswer {
        access_token: secret("told"),
        refresh_token: refresh_token.map(secret),
        id_token: id_token.map(secret),
        token_type: None,
        scopes: None,
        expires_in: Some(Duration::from_secs(60)),
        refresh_expires_in: None,
    }))
}
