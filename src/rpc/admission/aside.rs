//! Places for calls to the services beside the broker's own, which anybody may call.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use super::{Share, bound::Taken};
use crate::{error::Error, types::lock};

/// The places for calls to a service beside the broker's own. They aren't among the calls in flight, and a
/// shutdown doesn't wait for them.
///
/// When all are taken, the connection that has the most gives up its oldest one to the next call; of two that have as many,
/// the one whose oldest is older. So whoever has few keeps them beside who has many, however fast those call. The
/// connections of callers keep theirs: nobody who isn't a caller takes a place from them.
#[derive(Debug)]
pub struct SidePlaces {
    most: usize,
    held: Arc<Mutex<Held>>,
}

/// The calls that have a place. Each has a number, in the order of coming.
#[derive(Debug, Default)]
struct Held {
    next: u64,
    count: usize,
    connections: HashMap<Key, Holder>,
    /// The connections in the order in which they give up places, the first one last.
    ranks: BTreeSet<Rank>,
}

/// Which connection: the address of its share, which lives for as long as it holds a place.
type Key = usize;

/// How many places a connection has, and the oldest of them.
type Rank = (usize, Reverse<u64>, Key);

/// A connection that has places.
#[derive(Debug)]
struct Holder {
    connection: Arc<Share>,
    /// By number. A place is lost when its sender is dropped.
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The place of a call to a service beside the broker's own, until this is dropped or another call needs it.
#[derive(Debug)]
pub struct Aside {
    connection: Arc<Share>,
    number: u64,
    held: Arc<Mutex<Held>>,
    lost: Option<oneshot::Receiver<()>>,
    _of_connection: Taken,
}

impl SidePlaces {
    /// Makes places for `most` calls at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            held: Arc::default(),
        }
    }

    /// Gives a place to a call over this connection, which has `_of_connection` for it.
    pub(super) fn take(
        &self,
        connection: &Arc<Share>,
        _of_connection: Taken,
    ) -> Result<Aside, Error> {
        let mut held = lock(&self.held);
        let (number, lost) = held.add(connection);
        if held.count > self.most {
            // If all others are calls of callers, it is the new one that gives way.
            let (key, yields) = held.yields().unwrap_or((key(connection), number));
            held.remove(key, yields);
            if yields == number {
                return Err(Error::Overloaded);
            }
        }
        Ok(Aside {
            connection: Arc::clone(connection),
            number,
            held: Arc::clone(&self.held),
            lost: Some(lost),
            _of_connection,
        })
    }
}

impl Held {
    /// Adds a place, and returns its number and what ends when it is lost.
    fn add(&mut self, connection: &Arc<Share>) -> (u64, oneshot::Receiver<()>) {
        let (keeps, lost) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.count += 1;
        let key = key(connection);
        let holder = self.connections.entry(key).or_insert_with(|| Holder {
            connection: Arc::clone(connection),
            places: BTreeMap::new(),
        });
        if let Some(rank) = holder.rank() {
            self.ranks.remove(&rank);
        }
        holder.places.insert(number, keeps);
        self.ranks.extend(holder.rank());
        (number, lost)
    }

    /// Takes a place away, unless it has gone.
    fn remove(&mut self, key: Key, number: u64) {
        let Some(holder) = self.connections.get_mut(&key) else {
            return;
        };
        let rank = holder.rank();
        if holder.places.remove(&number).is_none() {
            return;
        }
        self.count -= 1;
        if let Some(rank) = rank {
            self.ranks.remove(&rank);
        }
        match holder.rank() {
            Some(rank) => _ = self.ranks.insert(rank),
            None => _ = self.connections.remove(&key),
        }
    }

    /// Returns the place that goes first, if not all are of callers.
    fn yields(&self) -> Option<(Key, u64)> {
        let mut ranks = self.ranks.iter().rev();
        let is_stranger = |key| {
            let holder = self.connections.get(key);
            holder.is_some_and(|holder| holder.connection.last_let_in().is_none())
        };
        let (_, Reverse(oldest), key) = ranks.find(|(_, _, key)| is_stranger(key))?;
        Some((*key, *oldest))
    }
}

impl Holder {
    /// `None` without places.
    fn rank(&self) -> Option<Rank> {
        let (oldest, _) = self.places.first_key_value()?;
        Some((self.places.len(), Reverse(*oldest), key(&self.connection)))
    }
}

impl Aside {
    /// Returns what ends when another call has taken the place. This can be asked for once.
    pub fn lost(&mut self) -> oneshot::Receiver<()> {
        let never = || oneshot::channel().1;
        self.lost.take().unwrap_or_else(never)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        lock(&self.held).remove(key(&self.connection), self.number);
    }
}

fn key(connection: &Arc<Share>) -> Key {
    Arc::as_ptr(connection).addr()
}
