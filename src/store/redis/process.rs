//! The one Redis of the process, which all tenants share, and the store of each tenant.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::Value;
use tokio::sync::Semaphore;

use super::{
    RedisOptions,
    announcements::Announcements,
    keyspace::{Key, Keyspace},
    link::{Link, reply},
    maintenance::migration::LegacyMapping,
    readiness,
    scripts::Scripts,
    session::Likely,
};
use crate::{
    store::{Error, Health, LinkFigures, READY_WITHIN, redis::Durability},
    types::{Tenant, lock},
};

/// The Redis of this process: its connections, and its knowledge of which servers are primaries. Clones share
/// them.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    link: Link,
    scripts: Scripts,
    options: RedisOptions,
    announcements: Announcements,
    /// The turns of tenants that look through all keys of Redis while they are served.
    sweeps: Arc<Semaphore>,
    /// The slots of all tenants. Each comes with the name of a key in it that never holds anything.
    slots: Mutex<BTreeMap<u16, Key>>,
}

/// A store that keeps one tenant's data in a Redis: a key space and a link. Clones share it.
#[derive(Clone)]
pub struct RedisStore {
    pub(super) redis: Redis,
    pub(super) keys: Keyspace,
    pub(super) link: Link,
    pub(super) likely: Arc<Likely>,
    foreign_members: Arc<AtomicU64>,
    /// Under which names older software keeps the identities of providers.
    older: Arc<ArcSwap<LegacyMapping>>,
}

impl Redis {
    /// Returns a Redis that is connected to when it is first used.
    #[must_use]
    pub fn new(options: RedisOptions) -> Self {
        Self(Arc::new(Inner {
            link: Link::new(&options),
            scripts: Scripts::new(&options.largest),
            options,
            announcements: Announcements::default(),
            sweeps: Arc::new(Semaphore::new(1)),
            slots: Mutex::default(),
        }))
    }

    /// Returns the store of one tenant. It shares all connections with the stores of other tenants.
    #[must_use]
    pub fn tenant(&self, tenant: &Tenant) -> RedisStore {
        let keys = Keyspace::new(tenant);
        let slot = keys.slot();
        lock(&self.0.slots)
            .entry(slot)
            .or_insert_with(|| keys.probe());
        RedisStore {
            redis: self.clone(),
            link: self.0.link.to(slot),
            keys,
            likely: Arc::default(),
            foreign_members: Arc::default(),
            older: Arc::default(),
        }
    }

    /// Returns what the way to Redis has counted since the start.
    #[must_use]
    pub fn figures(&self) -> LinkFigures {
        self.0.link.figures()
    }

    pub(super) fn scripts(&self) -> &Scripts {
        &self.0.scripts
    }

    /// Returns the turns of tenants that look for what older software writes. They go one after the other, so that a process
    /// takes no more of Redis' time for many tenants than for one.
    pub(super) fn sweeps(&self) -> &Arc<Semaphore> {
        &self.0.sweeps
    }

    /// Returns what tells of attempts that end.
    pub(super) fn announcements(&self) -> &Announcements {
        &self.0.announcements
    }

    pub(super) fn options(&self) -> &RedisOptions {
        &self.0.options
    }

    /// Whether writes wait for replicas.
    pub(super) fn is_replicated(&self) -> bool {
        self.0.options.durability != Durability::Primary
    }

    /// Asks each primary that holds a tenant's keys, through one of the primary's slots.
    async fn ready(&self) -> Result<(), Error> {
        let topology = self.0.link.topology();
        let slots = lock(&self.0.slots).clone();
        let mut asked = Vec::new();
        for (slot, key) in slots {
            let known = topology.known(slot);
            if known.is_some() && asked.contains(&known) {
                continue;
            }
            let link = self.0.link.to(slot).within(READY_WITHIN);
            ask_if_ready(&link, &key).await?;
            asked.push(known);
        }
        Ok(())
    }
}

async fn ask_if_ready(link: &Link, key: &str) -> Result<(), Error> {
    let answer = link.read(&redis::cmd("ROLE")).await?;
    let role = reply::list(answer)?
        .into_iter()
        .next()
        .unwrap_or(Value::Nil);
    match reply::parse::<String>(role)?.as_str() {
        // Only a command with a key shows whether a cluster works for this slot.
        "master" => readiness::writes_work(link, key).await,
        _ => {
            link.topology().note_replica();
            Err(Error::unavailable(
                "Redis is a replica and accepts no writes",
            ))
        }
    }
}

impl Health for RedisStore {
    async fn ready(&self) -> Result<(), Error> {
        self.redis.ready().await
    }

    async fn ready_each(all: &[&Self]) -> Vec<Result<(), Error>> {
        let known = |store: &Self| store.link.topology().known(store.keys.slot());
        // Each store, and the first one whose primary is the same.
        let mut firsts: Vec<(_, &Self)> = Vec::new();
        let asked_by = all.iter().map(|store| {
            let primary = known(store);
            let same = |(known, first): &(_, &Self)| match (&primary, known) {
                (Some(primary), Some(known)) => primary == known,
                _ => store.keys.slot() == first.keys.slot(),
            };
            firsts.iter().position(same).unwrap_or_else(|| {
                firsts.push((primary, store));
                firsts.len() - 1
            })
        });
        let asked_by: Vec<_> = asked_by.collect();
        let answers = join_all(firsts.iter().map(|(_, store)| store.ask_if_ready())).await;
        asked_by.into_iter().map(|by| answers[by].clone()).collect()
    }

    fn link(&self) -> Option<LinkFigures> {
        Some(self.redis.figures())
    }
}

impl RedisStore {
    /// Returns how many members of indexes were found since the start that lie outside of the tenant or are
    /// not rows (I10).
    #[must_use]
    pub fn foreign_members(&self) -> u64 {
        self.foreign_members.load(Ordering::Relaxed)
    }

    /// Returns under which names older software keeps, or kept, what belongs to providers.
    pub(super) fn older_layout(&self) -> Arc<LegacyMapping> {
        self.older.load_full()
    }

    /// Takes note of these names. All clones of the store do.
    pub(super) fn note_older_layout(&self, mapping: LegacyMapping) {
        self.older.store(Arc::new(mapping));
    }

    /// Asks the primary that holds this tenant's keys.
    async fn ask_if_ready(&self) -> Result<(), Error> {
        ask_if_ready(&self.link.within(READY_WITHIN), &self.keys.probe()).await
    }

    pub(super) fn note_foreign(&self, members: u64) {
        if members > 0 {
            self.foreign_members.fetch_add(members, Ordering::Relaxed);
            tracing::warn!(
                members,
                "ignored members of an index that are not rows of this tenant"
            );
        }
    }

    /// Returns the argument that makes scripts write something even if nothing changes, so that WAIT has a
    /// write to wait for.
    pub(super) fn durable_flag(&self) -> &'static [u8] {
        if self.redis.is_replicated() {
            b"1"
        } else {
            b""
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
