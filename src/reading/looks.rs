//! When files that are followed are looked at, and when what is there counts: by the same rules for all of them.

use std::time::Duration;

use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, sleep, timeout};

use super::{Hangs, Reading};

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a look waits for that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at the same files again and again: every second, and whenever somebody asks.
pub struct Looks<'a> {
    asked: BoxStream<'a, ()>,
    reading: Reading,
}

/// What a look found.
#[derive(Debug)]
pub struct Look<T> {
    /// What is there.
    pub found: Result<T, Hangs>,
    /// Whether somebody asked, who is to be told what came of it.
    pub was_asked: bool,
}

impl<'a> Looks<'a> {
    /// How long what is there has to stay the same before it counts.
    pub const SETTLES: Duration = Duration::from_millis(100);

    /// Makes one that also looks whenever `asked` says so.
    pub fn new(asked: impl Stream<Item = ()> + Send + 'a) -> Self {
        Self {
            asked: asked.chain(stream::pending()).boxed(),
            reading: Reading::default(),
        }
    }

    /// Waits until it is time, and reads until `read` returns the same twice, a moment apart: somebody may be writing a file in
    /// place, and what is there halfway may look whole.
    ///
    /// # Panics
    /// Panics if `read` does.
    pub async fn next<T: PartialEq + Send + 'static>(
        &mut self,
        read: impl FnOnce() -> T + Clone + Send + 'static,
    ) -> Look<T> {
        let was_asked = timeout(EVERY, self.asked.next()).await.is_ok();
        let found = settled(|| self.reading.read(read.clone())).await;
        Look { found, was_asked }
    }

    /// Returns what is there now, settled or not.
    ///
    /// # Errors
    /// Returns [`Hangs`] if the disk doesn't answer.
    ///
    /// # Panics
    /// Panics if `read` does.
    pub async fn now<T: Send + 'static>(
        &mut self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        self.reading.read(read).await
    }
}

async fn settled<T: PartialEq, F: Future<Output = Result<T, Hangs>>>(
    read: impl Fn() -> F,
) -> Result<T, Hangs> {
    let begun = Instant::now();
    let mut last = read().await?;
    while begun.elapsed() < PATIENCE {
        sleep(Looks::SETTLES).await;
        let next = read().await?;
        if next == last {
            return Ok(next);
        }
        last = next;
    }
    Err(Hangs::Restless)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::sync::mpsc;

    use super::*;

    const SETTLES: Duration = Looks::SETTLES;

    /// A bundle with one authority of two looks whole.
    #[tokio::test(start_paused = true)]
    async fn what_is_read_while_it_is_written_does_not_count() {
        for (reads, expected) in [
            (vec!["one", "one two", "one two"], "one two"),
            (vec!["", "one", "one two", "one two"], "one two"),
            (vec!["one two", "one two"], "one two"),
            (vec!["one", "one", "one two"], "one"),
        ] {
            let left = RefCell::new(reads.into_iter());
            let begun = Instant::now();
            let found = settled(async || Ok(left.borrow_mut().next().unwrap_or_default())).await;
            assert_eq!(found, Ok(expected));
            assert!(begun.elapsed() >= SETTLES);
        }
    }

    /// Whoever follows it says so, and doesn't wait for ever.
    #[tokio::test(start_paused = true)]
    async fn what_never_stays_the_same_is_told() {
        let reads = RefCell::new(0);
        let found = settled(async || {
            *reads.borrow_mut() += 1;
            Ok(*reads.borrow())
        });
        let found = timeout(2 * PATIENCE, found).await.unwrap();
        assert_eq!(found, Err(Hangs::Restless));
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_every_second_and_when_somebody_asks() {
        let (ask, mut asked) = mpsc::unbounded_channel();
        let mut looks = Looks::new(stream::poll_fn(move |task| asked.poll_recv(task)));
        let mut look = async || {
            let begun = Instant::now();
            let look = looks.next(|| 7).await;
            assert_eq!(look.found, Ok(7));
            (look.was_asked, begun.elapsed())
        };
        assert_eq!(look().await, (false, EVERY + SETTLES));
        ask.send(()).unwrap();
        assert_eq!(look().await, (true, SETTLES));
        assert_eq!(look().await, (false, EVERY + SETTLES));
        // Nobody can ask any more.
        drop(ask);
        assert_eq!(look().await, (false, EVERY + SETTLES));
    }
}
