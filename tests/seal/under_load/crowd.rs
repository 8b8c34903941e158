//! All callers at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use testkit::waiting::until;
use token_broker::types::Version;
use tokio::task::JoinHandle;

use super::callers::{Asked, Times, World};

/// How many callers ask the broker without the new key for access tokens.
const LANES: usize = 4;

/// What was stored last in each row.
type Last = BTreeMap<usize, (String, Version)>;

/// The callers.
pub struct Crowd {
    world: Arc<World>,
    storing: JoinHandle<Last>,
    carrying: JoinHandle<(Last, usize)>,
    asking: Vec<JoinHandle<Asked>>,
    sharing: JoinHandle<(Asked, Asked)>,
    reading: JoinHandle<Times>,
    reading_behind: JoinHandle<usize>,
}

/// What came of the calls.
pub struct Called {
    /// What the broker with both keys stored last in each row, and what the other one carried over.
    pub stored: Last,
    pub carried: Last,
    /// What became of calls for access tokens at the broker with both keys, and at the other one.
    pub ahead: Asked,
    pub behind: Asked,
    /// Reads at the broker with both keys.
    pub reads: Times,
    /// Of how many rows the broker without the new key was told that it lacks it, when it wanted to carry over, and when it read.
    pub not_carried: usize,
    pub not_read: usize,
}

impl Crowd {
    pub fn begin(world: &Arc<World>) -> Self {
        let world = || Arc::clone(world);
        let ask = |lane| {
            let world = world();
            tokio::spawn(async move { world.ask_behind(lane, LANES).await })
        };
        let [storer, carrier, sharer, reader, reader_behind] = [(); 5].map(|()| world());
        Self {
            world: world(),
            storing: tokio::spawn(async move { storer.store().await }),
            carrying: tokio::spawn(async move { carrier.carry_over().await }),
            asking: (0..LANES).map(ask).collect(),
            sharing: tokio::spawn(async move { sharer.ask_both().await }),
            reading: tokio::spawn(async move { reader.read_with_both_keys().await }),
            reading_behind: tokio::spawn(
                async move { reader_behind.read_without_the_new_key().await },
            ),
        }
    }

    /// Waits until each of them has called a while.
    pub async fn has_called(&self) {
        let world = &self.world;
        let most = world.rows.min(20_000);
        until("all have called a while", async || {
            world.stored.load(Ordering::Relaxed) > most / 10
                && world.carried.load(Ordering::Relaxed) > most / 20
                && world.refreshed_behind.load(Ordering::Relaxed) > most / 100
        })
        .await;
    }

    /// Has them end. Panics if one of them saw what may not be.
    pub async fn end(self) -> Called {
        self.world.stop.store(true, Ordering::Relaxed);
        let (carried, not_carried) = self.carrying.await.unwrap();
        let (ahead, mut behind) = self.sharing.await.unwrap();
        for asking in self.asking {
            behind.add(asking.await.unwrap());
        }
        Called {
            stored: self.storing.await.unwrap(),
            carried,
            ahead,
            behind,
            reads: self.reading.await.unwrap(),
            not_carried,
            not_read: self.reading_behind.await.unwrap(),
        }
    }
}
