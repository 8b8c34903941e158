//! The whole program with a store that panics on purpose, while it holds tokens. No program that is shipped has such a store:
//! this test's own program runs again, as a broker.

use std::{
    collections::{BTreeMap, HashMap},
    env, fmt,
    future::Future,
    panic,
    process::{Command, ExitCode},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use token_broker::{
    cli,
    error::{Damage, Unopened},
    store::{
        Authorizations, Change, CreateOutcome, Decoded, Decorate, DeleteOutcome, DeletedIdentities,
        DeletedRows, Error, FullStore, Health, Identities, LinkFigures, LinkOutcome,
        NewAuthorization, NewIdentity, Position, Put, PutOutcome, Records, Resolved, Seen, Store,
        UnlinkOutcome, UserRowKeys,
    },
    types::{
        AttemptId, Identity, IdentityKey, Nonce, PendingAuthorization, ProviderName, Row, RowKey,
        Secret, SessionId, State, UnixTime, UserId, UserRecord, Version,
    },
};

/// What the ids of sessions have in them whose rows the store panics about, once in each of its calls.
pub const PANICS: &str = "-panics";
/// In addition to [`PANICS`]: it panics when the tokens of a refresh are written, too.
pub const LATE: &str = "-late";
/// In addition to [`PANICS`]: once the row is stored, the store panics when it is next asked whether it works.
pub const BACKGROUND: &str = "-background";

/// The variable that has the usual hook tell of panics.
const USUAL_HOOK: &str = "CANARIES_USUAL_HOOK";

/// Returns a command that runs this program as a broker, to which arguments may be added.
pub fn program(has_usual_hook: bool) -> Command {
    let mut program = Command::new(env::current_exe().unwrap());
    // What follows counts as names of other tests, which aren't there.
    program.args(["--ignored", "--nocapture", "--exact"]);
    program.args(["panicking::is_a_broker", "--"]);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("TOKEN_BROKER_") {
            program.env_remove(name);
        }
    }
    if has_usual_hook {
        program.env(USUAL_HOOK, "1");
    }
    program
}

#[test]
#[ignore = "a test of panics starts it"]
fn is_a_broker() -> ExitCode {
    let args: Vec<_> = env::args_os().skip_while(|arg| arg != "--").collect();
    match args.len() {
        0 => ExitCode::SUCCESS,
        _ => cli::run_decorated(args, &Panics),
    }
}

struct Panics;

impl Decorate for Panics {
    type Of<S: FullStore> = Panicking<S>;

    fn around<S: FullStore>(&self, inner: S) -> Panicking<S> {
        Panicking {
            inner,
            calls: Mutex::default(),
            held: Mutex::default(),
            panics: AtomicUsize::default(),
        }
    }
}

/// An error that quotes what it is about.
struct Quoting(String);

impl fmt::Debug for Quoting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't make sense of {:?}", self.0)
    }
}

fn checked(tokens: String) -> Result<(), Quoting> {
    match tokens.is_empty() {
        true => Ok(()),
        false => Err(Quoting(tokens)),
    }
}

/// A store that panics.
pub struct Panicking<S> {
    inner: S,
    /// How often each call was made about each row.
    calls: Mutex<HashMap<(&'static str, RowKey), usize>>,
    /// The row that the next look at the store panics about.
    held: Mutex<Option<Row>>,
    panics: AtomicUsize,
}

impl<S> Panicking<S> {
    /// Panics about a row, if it is one to panic about and this call of the store is made for one of these times.
    fn at(&self, call: &'static str, times: &[usize], key: &RowKey, row: &Row) {
        if !key.session.as_str().contains(PANICS) {
            return;
        }
        let mut calls = self.calls.lock().unwrap();
        let made = calls.entry((call, key.clone())).or_default();
        *made += 1;
        let is_time = times.contains(made);
        drop(calls);
        if is_time {
            self.panic(row);
        }
    }

    fn panic(&self, row: &Row) {
        if env::var_os(USUAL_HOOK).is_some() {
            // The broker's own one was set before.
            drop(panic::take_hook());
        }
        let tokens = [&row.access_token, &row.refresh_token, &row.id_token];
        let tokens = tokens.map(|token| token.as_ref().map_or("", Secret::expose));
        match self.panics.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => panic!("{row:?} has {tokens:?}"),
            1 => checked(tokens.concat()).expect("good tokens"),
            _ => panic::panic_any(tokens.concat()),
        }
    }
}

impl<S: Store> Store for Panicking<S> {
    const NAME: &'static str = S::NAME;

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, Error> {
        self.at("put", &[1], put.key, put.row);
        let written = self.inner.put(put).await;
        let session = put.key.session.as_str();
        if session.contains(PANICS) && session.contains(BACKGROUND) {
            *self.held.lock().unwrap() = Some(put.row.clone());
        }
        written
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Decoded>, Error> {
        let read = self.inner.get(key).await?;
        if let Some(Ok(stored)) = &read {
            self.at("get", &[1], key, &stored.row);
        }
        Ok(read)
    }

    async fn get_session(
        &self,
        session: &SessionId,
    ) -> Result<BTreeMap<ProviderName, Decoded>, Error> {
        let read = self.inner.get_session(session).await?;
        for (provider, decoded) in &read {
            if let Ok(stored) = decoded {
                let (session, provider) = (session.clone(), provider.clone());
                let key = RowKey { session, provider };
                self.at("get_session", &[1], &key, &stored.row);
            }
        }
        Ok(read)
    }

    async fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Decoded>>, Error> {
        let read = self.inner.get_many(keys).await?;
        for (key, decoded) in keys.iter().zip(&read) {
            if let Some(Ok(stored)) = decoded {
                self.at("get_many", &[1], key, &stored.row);
            }
        }
        Ok(read)
    }

    async fn user_rows(
        &self,
        user: &UserId,
        position: Option<&Position>,
        at_most: usize,
    ) -> Result<UserRowKeys, Error> {
        self.inner.user_rows(user, position, at_most).await
    }

    async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<DeleteOutcome, Error> {
        self.inner.delete(key, version).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<u64, Error> {
        self.inner.delete_session(session).await
    }

    async fn delete_user_rows(&self, user: &UserId) -> Result<DeletedRows, Error> {
        self.inner.delete_user_rows(user).await
    }
}

impl<S: Records> Records for Panicking<S> {
    async fn look(&self, key: &RowKey) -> Result<Seen, Error> {
        let seen = self.inner.look(key).await?;
        if let Some(stored) = seen.stored() {
            // The first look of a refresh, and then that of the next one for which it has a place at the provider.
            self.at("look", &[1, 3], key, &stored.row);
        }
        Ok(seen)
    }

    async fn change(&self, key: &RowKey, seen: &Seen, change: Change<'_>) -> Result<bool, Error> {
        if key.session.as_str().contains(LATE)
            && let Some(row) = &change.row
        {
            self.at("change", &[1], key, &row.stored.row);
        }
        self.inner.change(key, seen, change).await
    }

    fn ended(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        self.inner.ended(attempt)
    }
}

impl<S: Health> Health for Panicking<S> {
    async fn ready(&self) -> Result<(), Error> {
        let held = self.held.lock().unwrap().take();
        if let Some(row) = held {
            self.panic(&row);
        }
        self.inner.ready().await
    }

    fn link(&self) -> Option<LinkFigures> {
        self.inner.link()
    }
}

impl<S: Identities> Identities for Panicking<S> {
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

impl<S: Authorizations> Authorizations for Panicking<S> {
    async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, Error> {
        self.inner.create(new).await
    }

    async fn pending(
        &self,
        state: &State,
    ) -> Result<Option<Result<PendingAuthorization, Unopened>>, Error> {
        self.inner.pending(state).await
    }

    async fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> Result<bool, Error> {
        self.inner.take(state, pending, taker).await
    }

    async fn now(&self) -> Result<UnixTime, Error> {
        self.inner.now().await
    }
}
