//! Reading files that may be on a disk that doesn't answer: the one place where such readings are bounded. And following files that
//! change: [`Looks`] has the rules, and [`Complaint`] when the log tells of what is wrong.

mod complaint;
mod looks;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

pub use self::{
    complaint::Complaint,
    looks::{Look, Looks},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

/// How long reading may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many readings may hang at once. Each keeps a thread until it ends, which may be never.
const MOST: usize = 4;

/// Reads files again and again, on threads of their own, and waits for none that hangs. Clones share their places.
#[derive(Clone, Debug)]
pub struct Reading {
    places: Arc<Semaphore>,
    patience: Duration,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hangs {
    /// It was begun, and hasn't ended in time. A later one may do better: another file may be in the place of this one.
    #[error("reading takes too long: the disk doesn't answer")]
    This,
    /// So many earlier ones hang that no other is begun.
    #[error(
        "earlier readings still hang, and no other is begun until one ends: the disk doesn't answer"
    )]
    Earlier,
    /// The system has no thread to read with.
    #[error("there is no thread to read the file with")]
    NoThread,
    /// Whenever it was read, something else was there.
    #[error("what is read changes again and again, and is never the same for a moment")]
    Restless,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST)),
            patience: PATIENCE,
        }
    }
}

impl Reading {
    /// Returns what `read` returns, if that takes no longer than 5 s.
    ///
    /// # Errors
    /// Returns [`Hangs`].
    ///
    /// # Panics
    /// Panics if `read` does.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        self.read_within(self.patience, read).await
    }

    /// The same, with another patience.
    ///
    /// # Errors
    /// Returns [`Hangs`].
    ///
    /// # Panics
    /// Panics if `read` does.
    pub async fn read_within<T: Send + 'static>(
        &self,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        let until = Instant::now() + patience;
        // Many may read at once. What doesn't hang leaves its place soon.
        let place = timeout_at(until, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or(Hangs::Earlier)?;
        match timeout_at(until, spawn_blocking(placed(place, read))).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(ended)) if ended.is_panic() => resume_unwind(ended.into_panic()),
            // The runtime ends.
            Ok(Err(_)) => Err(Hangs::NoThread),
            Err(_) => Err(Hangs::This),
        }
    }

    /// Returns what `read` returns, if that takes no longer than 5 s. For those who run on no runtime, and are few.
    ///
    /// # Errors
    /// Returns [`Hangs`].
    ///
    /// # Panics
    /// Panics if `read` does.
    pub fn wait<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        let (told, answer) = mpsc::sync_channel(1);
        self.begin(move || {
            drop(told.send(catch_unwind(AssertUnwindSafe(read))));
        })?;
        match answer.recv_timeout(self.patience) {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(Hangs::This),
        }
    }

    /// Begins `read`, and doesn't wait for it.
    fn begin(&self, read: impl FnOnce() + Send + 'static) -> Result<(), Hangs> {
        let named = thread::Builder::new().name("files".to_owned());
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Hangs::Earlier)?;
        let begun = named.spawn(placed(place, read));
        begun.map(drop).map_err(|_| Hangs::NoThread)
    }
}

/// Returns `read` with a place that it keeps until it ends.
fn placed<T>(place: OwnedSemaphorePermit, read: impl FnOnce() -> T) -> impl FnOnce() -> T {
    move || {
        let read = read();
        drop(place);
        read
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use testkit::waiting::until;

    use super::*;

    /// Longer than a machine under load takes for what doesn't hang.
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn one_that_hangs_holds_up_no_other_until_too_many_do() {
        let reading = Reading {
            patience: Duration::from_millis(50),
            ..Reading::default()
        };
        let mut ends = Vec::new();
        for _ in 0..MOST {
            let (end, ended) = mpsc::channel::<()>();
            ends.push(end);
            let hangs = reading.read(move || ended.recv().is_ok()).await;
            assert_eq!(hangs, Err(Hangs::This));
            if ends.len() < MOST {
                assert_eq!(reading.read_within(LONG, || 7).await, Ok(7));
            }
        }
        assert_eq!(reading.read(|| 7).await, Err(Hangs::Earlier));
        ends.clear();
        while reading.read(|| 7).await != Ok(7) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whoever reads in whichever way has one bound on what hangs.
    #[tokio::test]
    async fn all_ways_share_their_places() {
        let reading = Reading {
            patience: Duration::from_millis(50),
            ..Reading::default()
        };
        let patient = Reading {
            patience: LONG,
            ..reading.clone()
        };
        assert_eq!(patient.wait(|| 7), Ok(7));
        let is_back = async || reading.places.available_permits() == MOST;
        until("its thread gives the place back", is_back).await;
        let mut ends = Vec::new();
        for _ in 0..MOST {
            let (end, ended) = mpsc::channel::<()>();
            ends.push(end);
            let hangs = move || assert!(ended.recv().is_err());
            match ends.len() % 2 {
                0 => reading.begin(hangs).unwrap(),
                _ => assert_eq!(reading.wait(hangs), Err(Hangs::This)),
            }
        }
        assert_eq!(reading.begin(|| ()), Err(Hangs::Earlier));
        assert_eq!(reading.wait(|| 7), Err(Hangs::Earlier));
        assert_eq!(reading.read(|| 7).await, Err(Hangs::Earlier));
        ends.clear();
        while reading.wait(|| 7) != Ok(7) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Many read at once, as when all connections are made again, and none of them hangs.
    #[tokio::test]
    async fn many_that_do_not_hang_are_all_read() {
        let reading = Reading::default();
        let slow = || std::thread::sleep(Duration::from_millis(1));
        let all = (0..16 * MOST).map(|_| reading.read(slow));
        for read in futures_util::future::join_all(all).await {
            assert_eq!(read, Ok(()));
        }
    }
}
