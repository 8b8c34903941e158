//! Places for calls to the services beside the broker's own, which anybody may call.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{Share, bound::Taken};
use crate::error::Error;

/// The places for calls to a service beside the broker's own. They aren't among the calls in flight, and a
/// shutdown doesn't wait for them.
///
/// When all are taken, the call that has had its place for longest gives it up to the next one. Calls over connections of
/// callers keep theirs: nobody who isn't one takes it from them.
#[derive(Debug)]
pub struct SidePlaces {
    most: usize,
    held: Arc<Mutex<Held>>,
}

/// The calls that have a place, by the order in which they came.
#[derive(Debug, Default)]
struct Held {
    next: u64,
    by: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    connection: Arc<Share>,
    /// The place is lost when this is dropped.
    _keeps: oneshot::Sender<()>,
}

/// The place of a call to a service beside the broker's own, until this is dropped or another call needs it.
#[derive(Debug)]
pub struct Aside {
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
        let (keeps, lost) = oneshot::channel();
        let mut held = locked(&self.held);
        if held.by.len() >= self.most {
            let mut by = held.by.iter();
            let yields = by.find(|(_, holder)| holder.connection.last_let_in().is_none());
            let number = yields.map(|(number, _)| *number).ok_or(Error::Overloaded)?;
            held.by.remove(&number);
        }
        let number = held.next;
        held.next += 1;
        let holder = Holder {
            connection: Arc::clone(connection),
            _keeps: keeps,
        };
        held.by.insert(number, holder);
        drop(held);
        Ok(Aside {
            number,
            held: Arc::clone(&self.held),
            lost: Some(lost),
            _of_connection,
        })
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
        locked(&self.held).by.remove(&self.number);
    }
}

fn locked(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
