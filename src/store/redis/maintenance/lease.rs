//! A lease in Redis: the broker that holds it works, and the others wait.
//!
//! A lease spares work and keeps reports clear. Two brokers that work at once do no damage, because each step checks
//! what it changes.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    store::{
        Error,
        redis::{
            keyspace::Key,
            link::{Effect, Link, reply},
            maintenance::repeated,
            scripts::Scripts,
        },
    },
    types::lock,
};

/// How long giving up a lease may take. If it takes longer, the lease runs out.
const GIVING_UP: Duration = Duration::from_secs(1);

/// What the script that replaces a foreign lease answers if it isn't foreign. Behind it stands how long it lives, in milliseconds.
const HELD: &str = "held ";

/// How many times as long as its own a broker takes the leases of others to be. Another version may have longer ones.
const LONGER: u32 = 10;
/// What a lease may always last, before it counts as one that no broker took.
const ALLOWED: Duration = Duration::from_secs(60);

/// A lease that this process holds, unless the process stalled until the lease ran out.
///
/// A lease that is dropped is given up in the background, whatever the process was doing under it. [`GivenUp`] tells
/// when that is done. If the process is killed, the lease runs out.
#[derive(Debug)]
pub struct Lease {
    link: Link,
    scripts: Scripts,
    key: Key,
    /// The value of the key begins with it. Random.
    holder: String,
    ttl: Duration,
    given_up: GivenUp,
    /// Whether dropping the lease gives it up.
    is_held: bool,
}

/// A lease that another broker seems to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When it ends, if nobody renews it.
    pub ends_in: Duration,
}

/// The leases that were dropped and are being given up. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct GivenUp(Arc<Mutex<JoinSet<()>>>);

impl Lease {
    /// Takes the lease `key` for `ttl`. Returns [`Held`] while another broker holds it. A broker that leaves its lease does so
    /// for `rest` at most.
    ///
    /// What can't be a broker's lease keeps nobody away, because it may stay for ever: a value of another type, one without an end,
    /// and one that ends too late. It is replaced, and the log says so.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`], as for the other methods.
    pub async fn take(
        link: &Link,
        scripts: &Scripts,
        key: Key,
        ttl: Duration,
        rest: Duration,
        given_up: &GivenUp,
    ) -> Result<Result<Self, Held>, Error> {
        // From here on the lease may be held, even if the answer never arrives.
        let mut lease = Self {
            link: link.clone(),
            scripts: scripts.clone(),
            key,
            holder: format!("{:032x}", rand::random::<u128>()),
            ttl,
            given_up: given_up.clone(),
            is_held: true,
        };
        let mut set = redis::cmd("SET");
        set.arg(&lease.key)
            .arg(&lease.holder)
            .arg("NX")
            .arg("PX")
            .arg(millis(ttl));
        lease.is_held = link.write(&set).await? == redis::Value::Okay;
        if !lease.is_held {
            let longest = (ttl * LONGER).max(ALLOWED).max(rest);
            if let Err(held) = lease.replace_foreign(longest).await? {
                lease.is_held = false;
                return Ok(Err(held));
            }
        }
        Ok(Ok(lease))
    }

    /// Takes the lease although its key holds something, if no broker's lease can last so long, or none looks so.
    async fn replace_foreign(&mut self, longest: Duration) -> Result<Result<(), Held>, Error> {
        let (ttl, longest) = (millis(self.ttl).to_string(), millis(longest).to_string());
        let args = [self.holder.as_bytes(), ttl.as_bytes(), longest.as_bytes()];
        self.is_held = true;
        let script = &self.scripts.replace_lease;
        let answer = self
            .link
            .call(script, &[&self.key], &args, Effect::Writes)
            .await?;
        let found: String = reply::parse(answer)?;
        if let Some(left) = found.strip_prefix(HELD) {
            let left = left.parse().map_err(|_| reply::odd_outcome())?;
            return Ok(Err(Held {
                ends_in: Duration::from_millis(left),
            }));
        }
        if !found.is_empty() {
            tracing::warn!(
                key = self.key.as_str(),
                found,
                "the key of a lease held what no broker writes there, and would have kept all brokers from working: it was \
                 replaced; see who writes to this Redis"
            );
        }
        Ok(Ok(()))
    }

    /// Does `work` and keeps the lease meanwhile, however long a single step takes. Returns `None`, in the middle of
    /// the work, once another broker holds the lease.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.lost() => None,
        }
    }

    /// Renews the lease three times in its life. Returns when another broker holds it.
    async fn lost(&self) {
        loop {
            sleep_until(Instant::now() + self.ttl / 3).await;
            // If Redis can't be asked, the work can't go on either, and fails by itself.
            if let Ok(false) = self.set(self.ttl, "").await {
                return;
            }
        }
    }

    /// Marks the lease as that of this very moment, and returns the mark. A script that finds the mark in the lease
    /// runs on data that holds everything that was written before this call, whichever server that is: replicas get
    /// all writes in their order. Returns `None` if another broker holds the lease.
    pub async fn mark(&self) -> Result<Option<String>, Error> {
        let mark = format!("{}:{:032x}", self.holder, rand::random::<u128>());
        let is_held = self.set(self.ttl, &mark).await?;
        Ok(is_held.then_some(mark))
    }

    /// Returns the key of the lease.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Gives the lease up, and waits until that is done. If it takes too long, the lease runs out.
    pub async fn give_up(mut self) {
        _ = timeout(GIVING_UP, self.give_up_over_another_connection()).await;
        self.is_held = false;
    }

    /// Connections that others share may be stuck, which may be why the work was given up.
    async fn give_up_over_another_connection(&self) {
        if let Ok((mut connection, ..)) = self.link.connect().await {
            let args: [&[u8]; 3] = [self.holder.as_bytes(), b"0", b""];
            let call = self.scripts.keep_lease.by_source(b"", &[&self.key], &args);
            _ = connection.send(&call).await;
        }
    }

    /// Stops using the lease, but keeps all other brokers from taking it for `rest`.
    pub async fn leave_for(mut self, rest: Duration) -> Result<(), Error> {
        self.set(rest, "").await?;
        self.is_held = false;
        Ok(())
    }

    /// Stops using the lease, and lets it run out.
    pub fn run_out(mut self) {
        self.is_held = false;
    }

    async fn set(&self, ttl: Duration, mark: &str) -> Result<bool, Error> {
        let ttl = millis(ttl).to_string();
        let args = [self.holder.as_bytes(), ttl.as_bytes(), mark.as_bytes()];
        let script = &self.scripts.keep_lease;
        let answer = repeated::call(&self.link, script, &[&self.key], &args).await?;
        reply::parse(answer)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_held {
            return;
        }
        let lease = Self {
            link: self.link.clone(),
            scripts: self.scripts.clone(),
            key: self.key.clone(),
            holder: std::mem::take(&mut self.holder),
            given_up: self.given_up.clone(),
            ttl: self.ttl,
            is_held: false,
        };
        self.given_up.add(async move { lease.give_up().await });
    }
}

impl GivenUp {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        lock(&self.0)
    }

    fn add(&self, giving_up: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(giving_up, &runtime);
    }

    /// Waits until all leases that were dropped are given up, for about a second at most. To be called before the
    /// process ends.
    pub async fn done(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        // One that panicked leaves its lease to run out.
        while tasks.join_next().await.is_some() {}
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
