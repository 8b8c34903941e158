//! Which server is the primary of which slot, as far as the process knows.
//!
//! There is one table for the whole process. With a single server and with Sentinel, one server is the
//! primary of everything. In a cluster, each slot has its own primary.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use tokio::sync::watch;

use super::primary::{Leave, Primary};
use crate::store::redis::Address;

/// How many slots a Redis Cluster has.
const SLOTS: usize = 16_384;
/// Marks a slot that no server is known to hold.
const UNASSIGNED: u16 = u16::MAX;

/// The table of primaries. Clones share it.
#[derive(Clone, Debug)]
pub struct Primaries(Arc<watch::Sender<Table>>);

/// Begins new terms. It doesn't keep the table, because the primaries in it own what connects to them.
#[derive(Clone, Debug)]
pub struct Terms(Weak<watch::Sender<Table>>);

#[derive(Debug, Default)]
struct Table {
    terms: u64,
    primaries: Vec<Arc<Primary>>,
    /// The position of each slot's primary in `primaries`. `None` means that the first one holds everything.
    slots: Option<Box<[u16]>>,
}

/// A server of a cluster and the slots that it holds, by the first and the last of each range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node's id.
    pub id: String,
    /// The server's address.
    pub address: Address,
    /// Whether the other nodes can't reach it.
    pub has_failed: bool,
    /// The ranges of slots that it holds.
    pub slots: Vec<(u16, u16)>,
}

impl Table {
    fn holder(&self, slot: u16) -> Option<&Arc<Primary>> {
        match &self.slots {
            None => self.primaries.first(),
            Some(slots) => self.primaries.get(usize::from(slots[usize::from(slot)])),
        }
    }

    /// Returns the entry for the server at `address`, or a new entry if it has none. A server whose id is another one
    /// is another server.
    fn entry(&mut self, address: &Address, id: Option<&str>) -> Arc<Primary> {
        let is_same = |known: &&Arc<Primary>| {
            let differs = known.id().zip(id).is_some_and(|(known, id)| known != id);
            known.address == *address && !differs
        };
        let entry = match self.primaries.iter().find(is_same) {
            Some(known) => Arc::clone(known),
            None => {
                self.terms += 1;
                Arc::new(Primary::new(address.clone(), self.terms))
            }
        };
        if let Some(id) = id {
            entry.set_id(id);
        }
        entry
    }
}

/// Returns the position of this very entry.
fn position(primaries: &[Arc<Primary>], entry: &Arc<Primary>) -> Option<usize> {
    primaries.iter().position(|held| Arc::ptr_eq(held, entry))
}

impl Primaries {
    /// Returns a table in which one server will hold everything.
    pub fn of_everything() -> Self {
        Self(Arc::new(watch::Sender::new(Table::default())))
    }

    /// Returns a table of a cluster's slots.
    pub fn of_slots() -> Self {
        let slots = vec![UNASSIGNED; SLOTS].into_boxed_slice();
        Self(Arc::new(watch::Sender::new(Table {
            slots: Some(slots),
            ..Table::default()
        })))
    }

    /// Returns the primary of `slot`, if one is known.
    pub fn of(&self, slot: u16) -> Option<Arc<Primary>> {
        self.0.borrow().holder(slot).cloned()
    }

    /// Returns the primary of `slot`, if one is known and the other nodes of the cluster can reach it.
    pub fn usable(&self, slot: u16) -> Option<Arc<Primary>> {
        let primary = self.of(slot)?;
        (!primary.has_failed()).then_some(primary)
    }

    /// Whether `primary` still holds something.
    pub fn has(&self, primary: &Arc<Primary>) -> bool {
        position(&self.0.borrow().primaries, primary).is_some()
    }

    /// Returns the addresses of the nodes whose ids are known.
    pub fn held(&self) -> HashMap<String, Address> {
        let table = self.0.borrow();
        let held = table.primaries.iter();
        held.filter_map(|held| Some((held.id()?.to_owned(), held.address.clone())))
            .collect()
    }

    /// Whether `address` is that of a primary that another node named, and that hasn't been asked yet.
    pub fn is_unasked(&self, address: &Address) -> bool {
        let table = self.0.borrow();
        let mut held = table.primaries.iter();
        held.any(|held| held.address == *address && held.id().is_none())
    }

    /// Makes the server at `address` the primary of everything. Returns whether it wasn't so before.
    pub fn switch(&self, address: &Address) -> bool {
        let mut last = None;
        let switched = self.0.send_if_modified(|table| {
            if table.holder(0).is_some_and(|held| held.address == *address) {
                return false;
            }
            let next = table.entry(address, None);
            last = table.primaries.pop();
            table.primaries = vec![next];
            true
        });
        if let Some(last) = last {
            last.leave(Leave::Now);
        }
        switched
    }

    /// Returns how often a server began to be a primary, as far as the process noticed.
    pub fn begun(&self) -> u64 {
        self.0.borrow().terms
    }

    /// Returns what begins new terms.
    pub fn terms(&self) -> Terms {
        Terms(Arc::downgrade(&self.0))
    }

    /// Leaves all servers, for good.
    pub fn close(&self) {
        let mut left = Vec::new();
        self.0
            .send_modify(|table| left = std::mem::take(&mut table.primaries));
        for primary in left {
            primary.leave(Leave::Now);
        }
    }

    /// Makes the server at `address` the primary of `slot`. Returns whether it wasn't so before.
    pub fn move_slot(&self, slot: u16, address: &Address) -> bool {
        self.0.send_if_modified(|table| {
            if table
                .holder(slot)
                .is_some_and(|held| held.address == *address)
            {
                return false;
            }
            let next = table.entry(address, None);
            let position = position(&table.primaries, &next).unwrap_or_else(|| {
                table.primaries.push(next);
                table.primaries.len() - 1
            });
            if let Some(slots) = &mut table.slots {
                slots[usize::from(slot)] = u16::try_from(position).unwrap_or(UNASSIGNED);
            }
            true
        })
    }

    /// Replaces the table of a cluster's slots by `claims`. `leave` says what becomes of the connections to a
    /// server that holds nothing any more. Returns the servers that are new.
    pub fn replace(&self, claims: &[Claim], leave: impl Fn(&Primary) -> Leave) -> Vec<Address> {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        self.0.send_if_modified(|table| {
            let mut slots = vec![UNASSIGNED; SLOTS].into_boxed_slice();
            let mut primaries = Vec::with_capacity(claims.len());
            let mut is_changed = false;
            for (at, claim) in claims.iter().enumerate() {
                let entry = table.entry(&claim.address, Some(&claim.id));
                if position(&table.primaries, &entry).is_none() {
                    new.push(claim.address.clone());
                }
                let had_failed = entry.set_failed(claim.has_failed);
                is_changed |= had_failed != claim.has_failed;
                primaries.push(entry);
                for &(first, last) in &claim.slots {
                    let range = usize::from(first)..=usize::from(last).min(SLOTS - 1);
                    slots[range].fill(u16::try_from(at).unwrap_or(UNASSIGNED));
                }
            }
            let is_gone = |held: &&Arc<Primary>| position(&primaries, held).is_none();
            gone = table.primaries.iter().filter(is_gone).cloned().collect();
            is_changed |=
                !gone.is_empty() || !new.is_empty() || table.slots.as_ref() != Some(&slots);
            table.primaries = primaries;
            table.slots = Some(slots);
            is_changed
        });
        for primary in gone {
            primary.leave(leave(&primary));
        }
        new
    }

    /// Waits until a usable primary of `slot` is known that is another one than `last`.
    pub async fn changed(&self, slot: u16, last: Option<&Arc<Primary>>) {
        let is_other = |table: &Table| {
            let holder = table.holder(slot).filter(|held| !held.has_failed());
            holder.is_some_and(|held| last.is_none_or(|last| !Arc::ptr_eq(last, held)))
        };
        // The sender lives as long as `self`.
        _ = self.0.subscribe().wait_for(is_other).await;
    }
}

impl Terms {
    /// Begins a new term at the address of `last`, with the same slots. Does nothing if the term of `last` is over.
    /// Returns whether a term has begun.
    pub fn renew(&self, last: &Primary, leave: Leave) -> bool {
        let Some(table) = self.0.upgrade() else {
            return false;
        };
        let mut left = None;
        table.send_if_modified(|table| {
            let is_last = |held: &Arc<Primary>| held.term == last.term;
            let Some(at) = table.primaries.iter().position(is_last) else {
                return false;
            };
            table.terms += 1;
            let next = Arc::new(last.again(table.terms));
            left = Some(std::mem::replace(&mut table.primaries[at], next));
            true
        });
        if let Some(left) = &left {
            left.leave(leave);
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> Address {
        Address::Tcp(host.to_owned(), 6379)
    }

    fn claim(host: &str, slots: (u16, u16)) -> Claim {
        Claim {
            id: host.to_owned(),
            address: address(host),
            has_failed: false,
            slots: vec![slots],
        }
    }

    fn holder(primaries: &Primaries, slot: u16) -> Option<String> {
        let primary = primaries.usable(slot)?;
        Some(primary.address.to_string())
    }

    #[test]
    fn one_server_holds_everything_until_another_takes_over() {
        let primaries = Primaries::of_everything();
        assert!(primaries.of(7).is_none());
        assert!(primaries.switch(&address("a")));
        assert!(
            !primaries.switch(&address("a")),
            "it is the primary already"
        );
        let first = primaries.of(7).unwrap();
        assert!(primaries.switch(&address("b")));
        assert!(first.is_over());
        assert!(primaries.switch(&address("a")));
        let again = primaries.of(9).unwrap();
        assert_ne!(
            first.term, again.term,
            "a server that comes back has another term"
        );
    }

    #[test]
    fn each_slot_has_a_primary_of_its_own() {
        let primaries = Primaries::of_slots();
        let claims = [claim("a", (0, 99)), claim("b", (100, 16_383))];
        assert_eq!(primaries.replace(&claims, |_| Leave::Now).len(), 2);
        assert_eq!(holder(&primaries, 99).as_deref(), Some("a:6379"));
        assert_eq!(holder(&primaries, 100).as_deref(), Some("b:6379"));
        let b = primaries.of(100).unwrap();

        // When a slot moves, its server keeps the other slots.
        assert!(primaries.move_slot(100, &address("c")));
        assert_eq!(holder(&primaries, 100).as_deref(), Some("c:6379"));
        assert_eq!(holder(&primaries, 101).as_deref(), Some("b:6379"));
        assert!(!b.is_over());

        // A server that failed is not used. A server that was followed is left.
        let mut claims = [claim("a", (0, 99)), claim("c", (100, 16_383))];
        claims[0].has_failed = true;
        assert!(primaries.replace(&claims, |_| Leave::Now).is_empty());
        assert_eq!(holder(&primaries, 7), None);
        assert!(b.is_over() && !primaries.has(&b));
        assert_eq!(holder(&primaries, 16_383).as_deref(), Some("c:6379"));
    }

    #[test]
    fn a_new_term_has_the_same_slots() {
        let primaries = Primaries::of_slots();
        let claims = [claim("a", (0, 99)), claim("b", (100, 16_383))];
        primaries.replace(&claims, |_| Leave::Now);
        let [a, b] = [99, 100].map(|slot| primaries.of(slot).unwrap());
        let terms = primaries.terms();
        assert!(terms.renew(&a, Leave::Now));
        assert!(a.is_over() && !b.is_over());
        let again = primaries.of(99).unwrap();
        assert!(again.term > b.term && !again.is_over());
        assert_eq!((&again.address, again.id()), (&a.address, a.id()));
        assert!(Arc::ptr_eq(&primaries.of(100).unwrap(), &b));
        assert!(!terms.renew(&a, Leave::Now), "its term is over");
        // What the nodes say next changes nothing.
        assert!(primaries.replace(&claims, |_| Leave::Now).is_empty());
        assert!(Arc::ptr_eq(&primaries.of(99).unwrap(), &again));
    }

    #[tokio::test]
    async fn who_waits_hears_of_a_primary_of_its_own_slot() {
        let primaries = Primaries::of_slots();
        primaries.replace(&[claim("a", (0, 16_383))], |_| Leave::Now);
        let last = primaries.of(5).unwrap();
        let waiting = tokio::spawn({
            let primaries = primaries.clone();
            async move { primaries.changed(5, Some(&last)).await }
        });
        primaries.move_slot(6, &address("b"));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "another slot moved");
        primaries.move_slot(5, &address("b"));
        waiting.await.unwrap();
    }
}
