//! Who holds the places, and who gives one up.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::{error::Error, rpc::admission::Share, types::Source};

/// The number of a place, in the order in which they are taken.
pub(super) type Number = u64;

/// Which connection: the address of its share, which lives for as long as the connection holds a place.
type Key = usize;

/// Who gives up a place before another: whoever has more, and of two that have as many the one whose oldest is older.
type Rank<T> = (usize, Reverse<Number>, T);

/// Who holds places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Holder {
    /// Whoever comes from there, and has made no call that the policy let in.
    Stranger(Source),
    /// A caller of the policy.
    Caller(u64),
    /// A connection that has made such a call where there is no policy.
    Connection(Key),
}

/// The places that are held.
#[derive(Debug)]
pub(super) struct Held {
    most: usize,
    next: Number,
    count: usize,
    holders: HashMap<Key, Holder>,
    groups: HashMap<Holder, Group>,
    /// The first one to give up a place is the last one of them.
    strangers: BTreeSet<Rank<Holder>>,
    callers: BTreeSet<Rank<Holder>>,
}

/// The places of one holder.
#[derive(Debug, Default)]
struct Group {
    numbers: BTreeSet<Number>,
    connections: HashMap<Key, Connection>,
    /// The first one to give up a place is the last one of them.
    ranks: BTreeSet<Rank<Key>>,
}

/// The places of one connection. A place is lost when its sender is dropped.
#[derive(Debug)]
struct Connection {
    share: Arc<Share>,
    places: BTreeMap<Number, oneshot::Sender<()>>,
}

impl Holder {
    fn of(share: &Arc<Share>) -> Self {
        match (share.last_let_in(), share.caller()) {
            (None, _) => Self::Stranger(share.source()),
            (Some(_), Some(caller)) => Self::Caller(caller),
            (Some(_), None) => Self::Connection(key(share)),
        }
    }

    fn is_stranger(self) -> bool {
        matches!(self, Self::Stranger(_))
    }
}

impl Held {
    /// No places yet, of `most`.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            next: 0,
            count: 0,
            holders: HashMap::new(),
            groups: HashMap::new(),
            strangers: BTreeSet::new(),
            callers: BTreeSet::new(),
        }
    }

    /// Gives a place to a call over this connection. Returns its number, and what ends when it is lost.
    pub fn take(&mut self, share: &Arc<Share>) -> Result<(Number, oneshot::Receiver<()>), Error> {
        let (keeps, lost) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.count += 1;
        let holder = self.settle(share);
        self.holders.insert(key(share), holder);
        self.change(holder, |group| group.add(share, [(number, keeps)].into()));
        if self.count > self.most {
            // The new one gives way if nobody else does.
            let (share, yielding) = self.yields(holder).unwrap_or((Arc::clone(share), number));
            self.give_up(&share, yielding);
            if yielding == number {
                return Err(Error::Overloaded);
            }
        }
        Ok((number, lost))
    }

    /// Takes a place away, unless it has gone.
    pub fn give_up(&mut self, share: &Arc<Share>, number: Number) {
        let key = key(share);
        let Some(&holder) = self.holders.get(&key) else {
            return;
        };
        let Some(mut places) = self.change(holder, |group| group.remove(key)) else {
            return;
        };
        self.count -= usize::from(places.remove(&number).is_some());
        match places.is_empty() {
            true => _ = self.holders.remove(&key),
            false => self.change(holder, |group| group.add(share, places)),
        }
    }

    /// Returns the connection that gives up a place to a call of this holder, and the place.
    fn yields(&mut self, to: Holder) -> Option<(Arc<Share>, Number)> {
        if let Some(&(count, _, caller)) = self.callers.last()
            && 2 * count > self.most
        {
            return self.groups.get(&caller)?.yields();
        }
        while let Some(&(_, _, stranger)) = self.strangers.last() {
            let (share, number) = self.groups.get(&stranger)?.yields()?;
            // It may have become a caller's since.
            if self.settle(&share) == stranger {
                return Some((share, number));
            }
        }
        let &(_, _, caller) = self.callers.last().filter(|_| !to.is_stranger())?;
        self.groups.get(&caller)?.yields()
    }

    /// Returns whose the connection is by now, and has its places count as theirs.
    fn settle(&mut self, share: &Arc<Share>) -> Holder {
        let (key, now) = (key(share), Holder::of(share));
        let before = self.holders.get(&key).copied().unwrap_or(now);
        if before != now
            && let Some(places) = self.change(before, |group| group.remove(key))
        {
            self.change(now, |group| group.add(share, places));
            self.holders.insert(key, now);
        }
        now
    }

    /// Changes what one holder has, and keeps all of them in their order.
    fn change<T>(&mut self, holder: Holder, change: impl FnOnce(&mut Group) -> T) -> T {
        let ranks = match holder.is_stranger() {
            true => &mut self.strangers,
            false => &mut self.callers,
        };
        let group = self.groups.entry(holder).or_default();
        if let Some(before) = rank(group.numbers.iter(), holder) {
            ranks.remove(&before);
        }
        let changed = change(group);
        match rank(group.numbers.iter(), holder) {
            Some(now) => _ = ranks.insert(now),
            None => _ = self.groups.remove(&holder),
        }
        changed
    }
}

impl Group {
    /// Adds places of a connection.
    fn add(&mut self, share: &Arc<Share>, places: BTreeMap<Number, oneshot::Sender<()>>) {
        let key = key(share);
        let mut all = self.remove(key).unwrap_or_default();
        all.extend(places);
        self.numbers.extend(all.keys());
        self.ranks.extend(rank(all.keys(), key));
        let connection = Connection {
            share: Arc::clone(share),
            places: all,
        };
        self.connections.insert(key, connection);
    }

    /// Removes a connection, and returns its places.
    fn remove(&mut self, key: Key) -> Option<BTreeMap<Number, oneshot::Sender<()>>> {
        let Connection { places, .. } = self.connections.remove(&key)?;
        if let Some(rank) = rank(places.keys(), key) {
            self.ranks.remove(&rank);
        }
        for number in places.keys() {
            self.numbers.remove(number);
        }
        Some(places)
    }

    /// Returns the connection that gives up a place, and the place.
    fn yields(&self) -> Option<(Arc<Share>, Number)> {
        let (_, Reverse(number), key) = self.ranks.last()?;
        let connection = self.connections.get(key)?;
        Some((Arc::clone(&connection.share), *number))
    }
}

/// Returns the rank of who holds places with these numbers, from the oldest on.
fn rank<'a, T>(mut numbers: impl ExactSizeIterator<Item = &'a Number>, of: T) -> Option<Rank<T>> {
    let count = numbers.len();
    let oldest = numbers.next()?;
    Some((count, Reverse(*oldest), of))
}

fn key(connection: &Arc<Share>) -> Key {
    Arc::as_ptr(connection).addr()
}
