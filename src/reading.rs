//! Reading files that may be on a disk that doesn't answer.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// How long reading may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many readings may hang at once. Each keeps a thread until it ends, which may be never.
const MOST: usize = 4;

/// Reads files again and again, on threads of their own, and waits for none that hangs.
#[derive(Clone, Debug)]
pub struct Reading {
    places: Arc<Semaphore>,
    patience: Duration,
}

/// Reading takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hangs {
    /// It was begun, and hasn't ended in time. A later one may do better: another file may be in the place of this one.
    #[error("reading takes longer than 5 s: the disk doesn't answer, or the file is a pipe")]
    This,
    /// So many earlier ones hang that no other is begun.
    #[error(
        "earlier readings still hang, and no other is begun until one ends: the disk doesn't answer"
    )]
    Earlier,
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
    /// Returns what `read` returns, if that doesn't take too long.
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
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Hangs::Earlier)?;
        let reading = spawn_blocking(move || {
            let read = read();
            drop(place);
            read
        });
        match timeout(self.patience, reading).await {
            Ok(Ok(read)) => Ok(read),
            // Only a panic could end the reading otherwise.
            Ok(Err(ended)) => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(Hangs::This),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

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
                assert_eq!(reading.read(|| 7).await, Ok(7));
            }
        }
        assert_eq!(reading.read(|| 7).await, Err(Hangs::Earlier));
        ends.clear();
        while reading.read(|| 7).await != Ok(7) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
