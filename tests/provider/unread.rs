//! Rows that are deleted although they can't be read before: that their tokens aren't revoked is counted and said.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use testkit::{broker::rules, captured_log::CapturedLog, provider, rows::*};
use token_broker::{
    error::{Damage, Error as BrokerError, Unreadable},
    refresh::{Providers, provider::ProviderOptions},
    store::{
        Decoded, DeleteOutcome, DeletedIdentities, DeletedRows, Error, Identities, LinkOutcome,
        MemoryStore, NewIdentity, Position, Put, PutOutcome, Resolved, Store, UnlinkOutcome,
        UserRowKeys,
    },
    tokens::Tokens,
    types::{
        Identity, IdentityKey, ProviderName, RowKey, SessionId, Tenant, UserId, UserRecord, Version,
    },
};

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing can be read.
    ReadsFail,
    /// No row can be decoded.
    RowsAreDamaged,
    /// Whoever deletes a version finds that another write came between.
    IsRaced,
    /// What was deleted isn't on enough replicas.
    IsNotDurable,
}

/// A store that has a fault from some time on.
#[derive(Clone, Default)]
struct Faulty {
    inner: Arc<MemoryStore>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        *self.fault.lock().unwrap() == Some(fault)
    }

    fn read<T>(&self, read: T) -> Result<T, Error> {
        match self.has(Fault::ReadsFail) {
            true => Err(Error::unavailable("the test says so")),
            false => Ok(read),
        }
    }

    fn opened(&self, row: Decoded) -> Decoded {
        match self.has(Fault::RowsAreDamaged) {
            true => Err(Unreadable::damaged("the test says so")),
            false => row,
        }
    }

    fn durable<T>(&self, done: T) -> Result<T, Error> {
        match self.has(Fault::IsNotDurable) {
            true => Err(Error::NotDurable("the test says so".to_owned())),
            false => Ok(done),
        }
    }
}

impl Store for Faulty {
    const NAME: &'static str = "faulty";

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        self.inner.put(put).await
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        let row = self.inner.get(key).await?;
        self.read(row.map(|row| self.opened(row)))
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let rows = self.inner.get_session(session).await?.into_iter();
        let opened = rows.map(|(provider, row)| (provider, self.opened(row)));
        self.read(opened.collect())
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let rows = self.inner.get_many(keys).await?.into_iter();
        let opened = rows.map(|row| row.map(|row| self.opened(row)));
        self.read(opened.collect())
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        let keys = self.inner.user_rows(user, position, at_most).await?;
        self.read(keys)
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        if version.is_some() && self.has(Fault::IsRaced) {
            return Ok(DeleteOutcome::VersionMismatch);
        }
        let outcome = self.inner.delete(key, version).await?;
        self.durable(outcome)
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        let count = self.inner.delete_session(session).await?;
        self.durable(count)
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        let rows = self.inner.delete_user_rows(user).await?;
        self.durable(rows)
    }
}

impl Identities for Faulty {
    async fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> Result<Result<Resolved, Damage>, Error> {
        self.inner.resolve(identity, new).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<Result<UserRecord, Damage>>, Error> {
        self.inner.user(user).await
    }

    async fn link(&self, new: NewIdentity<'_>) -> Result<LinkOutcome, Error> {
        self.inner.link(new).await
    }

    async fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> Result<Option<Result<UserId, Damage>>, Error> {
        self.inner.leads_to(identity).await
    }

    async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<UnlinkOutcome, Error> {
        self.inner.unlink(identity, user).await
    }

    async fn identities(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        self.inner.identities(user).await
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        self.inner.delete_user(user).await
    }
}

/// A way to delete rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    One,
    All,
    User,
}

struct Scene {
    store: Faulty,
    tokens: Tokens<Faulty>,
    log: CapturedLog,
}

impl Scene {
    /// A broker with the provider `test`, where nothing listens.
    fn new(log: &CapturedLog, revokes: bool) -> Self {
        let options = ProviderOptions {
            revoke_on_delete: revokes,
            ..provider::options_at_issuer("test", "http://127.0.0.1:9")
        };
        let tenant: Tenant = "test:test".parse().unwrap();
        let mut rules = rules(tenant);
        rules.providers = Providers::new(vec![options]);
        let store = Faulty::default();
        Self {
            store: store.clone(),
            tokens: Tokens::new(store, rules),
            log: log.clone(),
        }
    }

    async fn put(&self) {
        let request = testkit::broker::request(&key("s", "test"), &row("u", "1"));
        self.tokens.store(request).await.unwrap();
    }

    /// Deletes rows while the store has a fault. Returns how many.
    async fn delete(&self, way: Way, fault: Fault) -> Result<u64, BrokerError> {
        *self.store.fault.lock().unwrap() = Some(fault);
        let deleted = match way {
            Way::One => self
                .tokens
                .delete(&key("s", "test"), None)
                .await
                .map(u64::from),
            Way::All => self.tokens.delete_all(&session("s")).await,
            Way::User => self
                .tokens
                .delete_user(&user("u"))
                .await
                .map(|gone| gone.rows),
        };
        *self.store.fault.lock().unwrap() = None;
        deleted
    }

    /// Returns how many tokens weren't revoked, and the lines that say so.
    fn lost(&self) -> (u64, usize) {
        let log = self.log.text();
        assert!(!log.contains("refresh-1"), "{log}");
        let said = "a token of a deleted row was not revoked: ";
        let dropped = self.tokens.providers().revocations().figures().dropped;
        (dropped, log.matches(said).count())
    }
}

const CASES: [(Way, Fault); 10] = [
    (Way::One, Fault::ReadsFail),
    (Way::One, Fault::RowsAreDamaged),
    (Way::One, Fault::IsRaced),
    (Way::One, Fault::IsNotDurable),
    (Way::All, Fault::ReadsFail),
    (Way::All, Fault::RowsAreDamaged),
    (Way::All, Fault::IsNotDurable),
    (Way::User, Fault::ReadsFail),
    (Way::User, Fault::RowsAreDamaged),
    (Way::User, Fault::IsNotDurable),
];

#[tokio::test]
async fn a_token_that_nobody_could_read_is_counted_and_said() {
    for (way, fault) in CASES {
        let (log, _logging) = CapturedLog::of_this_thread();
        let scene = Scene::new(&log, true);
        scene.put().await;
        match scene.delete(way, fault).await {
            Ok(count) => assert_eq!(count, 1, "{way:?} {fault:?}"),
            Err(_) => assert_eq!(fault, Fault::IsNotDurable, "{way:?}"),
        }
        assert_eq!(scene.lost(), (1, 1), "{way:?} {fault:?}: {}", log.text());
        // Where nothing is deleted, nothing is lost.
        let again = scene.delete(way, fault).await;
        assert!(!matches!(again, Ok(1..)), "{way:?} {fault:?}: {again:?}");
        assert_eq!(scene.lost(), (1, 1), "{way:?} {fault:?}: {}", log.text());
    }
}

#[tokio::test]
async fn what_is_not_revoked_anyhow_is_not_lost() {
    for (way, fault) in CASES {
        let (log, _logging) = CapturedLog::of_this_thread();
        let scene = Scene::new(&log, false);
        scene.put().await;
        _ = scene.delete(way, fault).await;
        assert_eq!(scene.lost(), (0, 0), "{way:?} {fault:?}: {}", log.text());
    }
}

/// Many rows that can't be read for one reason are one line.
#[tokio::test]
async fn a_user_with_many_rows_that_nobody_could_read_is_one_line() {
    let (log, _logging) = CapturedLog::of_this_thread();
    let scene = Scene::new(&log, true);
    for number in 0..100 {
        let key = key(&format!("s{number}"), "test");
        let request = testkit::broker::request(&key, &row("u", "1"));
        scene.tokens.store(request).await.unwrap();
    }
    let deleted = scene.delete(Way::User, Fault::RowsAreDamaged).await;
    assert_eq!(deleted.unwrap(), 100);
    assert_eq!(scene.lost(), (100, 1), "{}", log.text());
}
