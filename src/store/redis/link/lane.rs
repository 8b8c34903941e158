//! Connections that callers share, and the places for requests over them.

use std::{
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::wire::Connection;

/// Connections that callers share, for requests of one kind. Tasks keep them open (`connections`).
///
/// Each connection carries a limited number of requests at once. A request holds its place until Redis has answered,
/// and not only as long as its caller waits: callers who leave early can't make Redis work on more at once.
#[derive(Debug)]
pub struct Lane {
    connections: Box<[Mutex<Option<Arc<Shared>>>]>,
    /// How many requests each connection carries at once.
    places: usize,
    next: AtomicUsize,
    changed: Notify,
}

/// A connection that callers share.
#[derive(Debug)]
struct Shared {
    connection: Connection,
    places: Arc<Semaphore>,
}

/// The place of a request among those that a connection carries.
pub type Place = OwnedSemaphorePermit;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// There is no connection.
    Unconnected,
    /// The connections carry as many requests as they may.
    Full,
}

impl Lane {
    /// Returns a lane for this many connections, without any of them yet.
    pub fn new(connections: u32, places: usize) -> Self {
        Self {
            connections: (0..connections).map(|_| Mutex::default()).collect(),
            places,
            next: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    /// Returns how many connections there may be.
    pub fn size(&self) -> usize {
        self.connections.len()
    }

    /// Sets the connection at this position, or takes it away.
    pub fn set(&self, at: usize, connection: Option<Connection>) {
        let shared = connection.map(|connection| {
            let places = Arc::new(Semaphore::new(self.places));
            Arc::new(Shared { connection, places })
        });
        let last = std::mem::replace(&mut *self.at(at), shared);
        if let Some(last) = last {
            // Whoever waits for a place there waits for another one.
            last.places.close();
        }
        self.changed.notify_waiters();
    }

    /// Waits until there is a connection.
    pub async fn is_up(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if (0..self.size()).any(|at| self.usable(at).is_some()) {
                return;
            }
            changed.await;
        }
    }

    /// Takes a place on one of the connections. Waits for one until `end`.
    ///
    /// # Errors
    /// Returns why there is none.
    pub async fn place(&self, end: Instant) -> Result<(Connection, Place), NoPlace> {
        let mut why = match self.free_place() {
            Ok(found) => return Ok(found),
            Err(full) => full.map_or(NoPlace::Unconnected, |_| NoPlace::Full),
        };
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let full = match self.free_place() {
                    Ok(found) => return found,
                    Err(full) => full,
                };
                why = full
                    .as_ref()
                    .map_or(NoPlace::Unconnected, |_| NoPlace::Full);
                let freed = async {
                    let Some(shared) = full else {
                        return pending().await;
                    };
                    let place = Arc::clone(&shared.places).acquire_owned().await.ok()?;
                    Some((shared.connection.clone(), place))
                };
                tokio::select! {
                    Some(found) = freed => if !found.0.is_broken() {
                        return found;
                    },
                    () = changed => {}
                }
            }
        };
        timeout_at(end, waiting).await.map_err(|_| why)
    }

    /// Takes a place if one is free on a connection that isn't in doubt.
    pub fn place_now(&self) -> Option<(Connection, Place)> {
        let found = self.free_place().ok()?;
        let is_doubtful = found.0.state().life().is_doubtful();
        (!is_doubtful).then_some(found)
    }

    /// Takes a place if one is free. Prefers connections that aren't in doubt.
    ///
    /// # Errors
    /// Returns a connection that carries as many requests as it may, if there is one.
    fn free_place(&self) -> Result<(Connection, Place), Option<Arc<Shared>>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut full = None;
        for may_be_doubtful in [false, true] {
            for at in 0..self.size() {
                let Some(shared) = self.usable(first.wrapping_add(at) % self.size()) else {
                    continue;
                };
                if shared.connection.state().life().is_doubtful() && !may_be_doubtful {
                    continue;
                }
                match Arc::clone(&shared.places).try_acquire_owned() {
                    Ok(place) => return Ok((shared.connection.clone(), place)),
                    Err(_) => full = full.or(Some(shared)),
                }
            }
        }
        Err(full)
    }

    /// Returns the connection at this position, if it can be used.
    fn usable(&self, at: usize) -> Option<Arc<Shared>> {
        let shared = self.at(at).clone()?;
        (!shared.connection.is_broken()).then_some(shared)
    }

    fn at(&self, at: usize) -> MutexGuard<'_, Option<Arc<Shared>>> {
        let connection = &self.connections[at];
        connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
