//! A lease in Redis: the broker that holds it works, and the others wait.
//!
//! A lease spares work and keeps reports clear. It protects nothing: two brokers that work at once do no
//! damage, because each step checks what it changes.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::{
    Error,
    redis::{
        link::{Link, reply},
        maintenance::repeated,
        scripts::Scripts,
    },
};

/// A lease that this process holds, unless the process stalled until the lease ran out. A lease that is
/// dropped runs out.
#[derive(Debug)]
pub struct Lease<'a> {
    link: &'a Link,
    scripts: &'a Scripts,
    key: String,
    holder: String,
    ttl: Duration,
    renewed: Instant,
}

impl<'a> Lease<'a> {
    /// Takes the lease `key` for `ttl`. Returns `None` while another broker holds it.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`], as for the other methods.
    pub async fn take(
        link: &'a Link,
        scripts: &'a Scripts,
        key: String,
        ttl: Duration,
    ) -> Result<Option<Self>, Error> {
        let holder = format!("{:032x}", rand::random::<u128>());
        let renewed = Instant::now();
        let mut set = redis::cmd("SET");
        set.arg(&key)
            .arg(&holder)
            .arg("NX")
            .arg("PX")
            .arg(millis(ttl));
        let taken = link.write(&set).await? == redis::Value::Okay;
        Ok(taken.then_some(Self {
            link,
            scripts,
            key,
            holder,
            ttl,
            renewed,
        }))
    }

    /// Keeps the lease. Returns `false` if another broker holds it now. To be called often: Redis is asked
    /// only once a third of the lease is over.
    pub async fn keep(&mut self) -> Result<bool, Error> {
        if self.renewed.elapsed() < self.ttl / 3 {
            return Ok(true);
        }
        let now = Instant::now();
        let kept = self.set(self.ttl).await?;
        self.renewed = now;
        Ok(kept)
    }

    /// Gives the lease up.
    pub async fn release(self) -> Result<(), Error> {
        self.set(Duration::ZERO).await.map(drop)
    }

    /// Stops using the lease, but keeps all other brokers from taking it for `rest`.
    pub async fn leave_for(self, rest: Duration) -> Result<(), Error> {
        self.set(rest).await.map(drop)
    }

    async fn set(&self, ttl: Duration) -> Result<bool, Error> {
        let ttl = millis(ttl).to_string();
        let args = [self.holder.as_bytes(), ttl.as_bytes()];
        let answer =
            repeated::call(self.link, &self.scripts.keep_lease, &[&self.key], &args).await?;
        reply::parse(answer)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
