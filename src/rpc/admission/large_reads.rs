//! Places for calls that read many rows at once.

use std::{sync::Arc, thread};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::expected::Size;

/// How many such reads of usual size there may be at once...
const USUAL: usize = 16;
/// ...and on one connection.
const USUAL_OF_A_CONNECTION: usize = 8;
/// A tenant may have a quarter of them: while Redis and the threads are at those, others wait.
const USUAL_OF_A_TENANT: usize = USUAL / 4;
/// A connection makes its other reads one at a time.
const OTHER_OF_A_CONNECTION: usize = 1;

/// A read of many rows at once. Each kind has places of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeRead {
    /// The rows of a session.
    Session,
    /// The rows of a user.
    User,
}

/// The places for each kind of [`LargeRead`], and each size of the answer.
///
/// A client who reads much, and so keeps a core and Redis busy for milliseconds, only waits for others of that sort.
#[derive(Debug)]
pub(super) struct LargeReads([Places; 2]);

#[derive(Debug)]
struct Places {
    usual: Arc<Semaphore>,
    unknown: Arc<Semaphore>,
    huge: Arc<Semaphore>,
}

impl LargeReads {
    /// Returns the places of the process. All cores may be at reads of unknown size, and half of them at huge ones.
    pub fn of_process() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::new(USUAL, cores, (cores / 2).max(1))
    }

    /// Returns the places of one of several tenants, on a machine with so many cores.
    pub fn of_tenant(cores: usize) -> Self {
        Self::new(USUAL_OF_A_TENANT, (cores / 2).max(1), (cores / 4).max(1))
    }

    /// Returns the places of a connection.
    pub fn of_connection() -> Self {
        let other = OTHER_OF_A_CONNECTION;
        Self::new(USUAL_OF_A_CONNECTION, other, other)
    }

    fn new(usual: usize, unknown: usize, huge: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let each = || Places {
            usual: places(usual),
            unknown: places(unknown),
            huge: places(huge),
        };
        Self([each(), each()])
    }

    /// Waits for a place. Returns `None` if there will never be one.
    pub async fn place(&self, read: LargeRead, size: Size) -> Option<OwnedSemaphorePermit> {
        let places = match read {
            LargeRead::Session => &self.0[0],
            LargeRead::User => &self.0[1],
        };
        let places = match size {
            Size::Usual => &places.usual,
            Size::Unknown => &places.unknown,
            Size::Huge => &places.huge,
        };
        Arc::clone(places).acquire_owned().await.ok()
    }
}
