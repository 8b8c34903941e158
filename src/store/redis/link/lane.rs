//! Connections that callers share, and the places for requests over them.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::wire::Connection;
use crate::types::lock;

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
    pub async fn until_up(&self) {
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
        let mut why = NoPlace::Unconnected;
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = self.free_place() {
                    return found;
                }
                let mut freed = self.freed();
                why = match freed.is_empty() {
                    true => NoPlace::Unconnected,
                    false => NoPlace::Full,
                };
                tokio::select! {
                    Some(Some(found)) = freed.next() => if !found.0.is_broken() {
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
        let found = self.free_place()?;
        let is_doubtful = found.0.state().life().is_doubtful();
        (!is_doubtful).then_some(found)
    }

    /// Takes a place if one is free. Prefers connections that aren't in doubt.
    fn free_place(&self) -> Option<(Connection, Place)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for may_be_doubtful in [false, true] {
            for at in 0..self.size() {
                let Some(shared) = self.usable(first.wrapping_add(at) % self.size()) else {
                    continue;
                };
                if shared.connection.state().life().is_doubtful() && !may_be_doubtful {
                    continue;
                }
                if let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() {
                    return Some((shared.connection.clone(), place));
                }
            }
        }
        None
    }

    /// Returns what is ready with the first place that becomes free, on whichever connection. Each connection gives its
    /// places to those who wait in the order in which they came.
    fn freed(&self) -> FuturesUnordered<impl Future<Output = Option<(Connection, Place)>>> {
        let usable = (0..self.size()).filter_map(|at| self.usable(at));
        let freed = usable.map(|shared| async move {
            let place = Arc::clone(&shared.places).acquire_owned().await.ok()?;
            Some((shared.connection.clone(), place))
        });
        freed.collect()
    }

    /// Returns the connection at this position, if it can be used.
    fn usable(&self, at: usize) -> Option<Arc<Shared>> {
        let shared = self.at(at).clone()?;
        (!shared.connection.is_broken()).then_some(shared)
    }

    fn at(&self, at: usize) -> MutexGuard<'_, Option<Arc<Shared>>> {
        lock(&self.connections[at])
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use futures_util::FutureExt as _;

    use super::{super::stand_in::StandIn, *};

    /// Returns a lane of two connections, each with one place, and both places.
    async fn taken(server: &StandIn) -> (Lane, [(Connection, Place); 2]) {
        let lane = Lane::new(2, 1);
        for at in 0..2 {
            lane.set(at, Some(server.connect().await.unwrap()));
        }
        let both = [(); 2].map(|()| lane.place_now().unwrap());
        assert!(lane.place_now().is_none());
        (lane, both)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(3_600)
    }

    #[tokio::test]
    async fn a_place_on_any_connection_wakes_who_waits() {
        let server = StandIn::start().await;
        let (lane, places) = taken(&server).await;
        let mut held = Vec::new();
        for place in places {
            let mut waiting = pin!(lane.place(late()));
            assert!(waiting.as_mut().now_or_never().is_none());
            drop(place);
            held.push(waiting.now_or_never().unwrap().unwrap());
        }
    }

    #[tokio::test]
    async fn one_connection_serves_all_who_wait_while_the_other_is_slow() {
        let server = StandIn::start().await;
        let (lane, [slow, fast]) = taken(&server).await;
        let mut waiting: Vec<_> = (0..6).map(|_| Box::pin(lane.place(late()))).collect();
        for place in &mut waiting {
            assert!(place.now_or_never().is_none());
        }
        let mut last = fast;
        for place in waiting {
            drop(last);
            last = place.now_or_never().unwrap().unwrap();
        }
        drop(slow);
    }

    #[tokio::test]
    async fn who_leaves_keeps_no_place() {
        let server = StandIn::start().await;
        let (lane, places) = taken(&server).await;
        let mut leaves = Box::pin(lane.place(late()));
        let mut stays = Box::pin(lane.place(late()));
        assert!(leaves.as_mut().now_or_never().is_none());
        assert!(stays.as_mut().now_or_never().is_none());
        // The one who came first is given both.
        drop(places);
        drop(leaves);
        let _one = stays.now_or_never().unwrap().unwrap();
        assert!(lane.place_now().is_some());
    }

    #[tokio::test]
    async fn a_connection_that_is_taken_away_is_waited_for_no_more() {
        let server = StandIn::start().await;
        let (lane, places) = taken(&server).await;
        let mut waiting = pin!(lane.place(late()));
        assert!(waiting.as_mut().now_or_never().is_none());
        for at in 0..2 {
            lane.set(at, None);
        }
        drop(places);
        assert!(waiting.as_mut().now_or_never().is_none());
        lane.set(0, Some(server.connect().await.unwrap()));
        _ = waiting.now_or_never().unwrap().unwrap();
    }
}
