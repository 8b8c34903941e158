//! The open connections of one listener: which task serves which of them, and which one is closed to make room.

use std::{collections::HashMap, time::Duration};

use tokio::{
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, timeout, timeout_at},
};

use super::source::{LEAST, Origin, who_yield};

/// How much later than it did a connection counts as come that hasn't had its time. None earns more.
const NEWEST: Duration = Duration::from_secs(1);

/// The open connections of one listener. A `T` is what the listener knows of each. They are closed when this is dropped.
pub(super) struct Open<T> {
    tasks: JoinSet<()>,
    served: HashMap<Id, Served<T>>,
}

/// A connection that a task serves.
struct Served<T> {
    origin: Origin,
    known: T,
    task: AbortHandle,
}

impl<T> Default for Open<T> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            served: HashMap::new(),
        }
    }
}

impl<T> Open<T> {
    /// Adds a connection, if `serve` begins a task that serves it.
    pub fn add(
        &mut self,
        origin: Origin,
        known: T,
        serve: impl FnOnce(&mut JoinSet<()>) -> Option<AbortHandle>,
    ) {
        if let Some(task) = serve(&mut self.tasks) {
            let served = Served {
                origin,
                known,
                task,
            };
            self.served.insert(served.task.id(), served);
        }
    }

    /// Returns how many connections are open. Those that have ended count until this has waited for them or forgotten them.
    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Returns what is known of each connection.
    pub fn known(&self) -> impl Iterator<Item = &T> {
        self.served.values().map(|served| &served.known)
    }

    /// Forgets the connections that have ended.
    pub fn forget_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
    }

    /// Waits until a connection ends, but not for longer than `most`.
    pub async fn one_ended(&mut self, most: Duration) {
        if let Ok(Some(ended)) = timeout(most, self.tasks.join_next_with_id()).await {
            self.forget(ended);
        }
    }

    /// Waits until all connections have ended.
    pub async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Waits until a connection ends. If none has by the time that the oldest one of the source that has the most has had
    /// [what each has at least](LEAST), that one is closed. A connection that has earned some time, [a second](NEWEST) at most,
    /// counts as come so much later.
    pub async fn close_oldest(&mut self, earned: impl Fn(&T) -> Duration) {
        let now = Instant::now();
        let all = self.served.values().map(|served| {
            let Origin { source, since } = served.origin;
            // One that hasn't had its time is the last, whatever others have earned: it would have to be waited for.
            let later = match now < since + LEAST {
                true => NEWEST,
                false => earned(&served.known).min(NEWEST),
            };
            let since = since + later;
            (Origin { source, since }, served)
        });
        let Some(&oldest) = who_yield(all, 1).first() else {
            return;
        };
        let its_end = oldest.origin.since + LEAST;
        let ended = match timeout_at(its_end, self.tasks.join_next_with_id()).await {
            Ok(ended) => ended,
            Err(_) => {
                oldest.task.abort();
                self.tasks.join_next_with_id().await
            }
        };
        if let Some(ended) = ended {
            self.forget(ended);
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.served.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;
    use crate::types::Source;

    fn begin(open: &mut Open<()>, work: impl Future<Output = ()> + Send + 'static) {
        let origin = Origin::now(Source::of(None));
        open.add(origin, (), |tasks| Some(tasks.spawn(work)));
    }

    /// Whoever has just come isn't closed before it could ask. The next ones don't wait for each of them, whatever they have
    /// earned.
    #[tokio::test(start_paused = true)]
    async fn a_connection_has_its_time_also_when_all_places_are_taken() {
        const PLACES: usize = 32;
        for earned in [0, 500, 5_000].map(Duration::from_millis) {
            let mut open = Open::default();
            let begun = Instant::now();
            for _ in 0..3 * PLACES {
                open.forget_ended();
                while open.count() >= PLACES {
                    open.close_oldest(|()| earned).await;
                }
                begin(&mut open, pending());
            }
            let took = begun.elapsed();
            assert!((2 * LEAST..3 * LEAST).contains(&took), "{took:?}");
        }
    }

    /// While some come again and again who earn time soon, each takes the place of one that is older.
    #[tokio::test(start_paused = true)]
    async fn who_is_new_is_not_waited_for_because_others_have_earned_time() {
        const PLACES: usize = 32;
        let mut open = Open::default();
        let begun = Instant::now();
        let earned = |since: &Instant| match since.elapsed() < LEAST / 2 {
            true => Duration::ZERO,
            false => Duration::from_millis(500),
        };
        let come = |open: &mut Open<Instant>| {
            let origin = Origin::now(Source::of(None));
            open.add(origin, Instant::now(), |tasks| Some(tasks.spawn(pending())));
        };
        (0..PLACES).for_each(|_| come(&mut open));
        sleep(LEAST).await;
        // More often than each of them could be waited for.
        for _ in 0..200 {
            open.close_oldest(earned).await;
            come(&mut open);
            sleep(LEAST / 4).await;
        }
        let took = begun.elapsed();
        assert!(took <= LEAST + 201 * LEAST / 4, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_earned_time_goes_after_who_came_in_it() {
        let mut open = Open::default();
        let come = |open: &mut Open<u64>, earned| {
            let origin = Origin::now(Source::of(None));
            open.add(origin, earned, |tasks| Some(tasks.spawn(pending())));
        };
        for earned in [1_000, 0, 0] {
            come(&mut open, earned);
            sleep(Duration::from_millis(600)).await;
        }
        for left in [[0, 1_000].as_slice(), &[0]] {
            open.close_oldest(|earned| Duration::from_millis(*earned))
                .await;
            let mut known: Vec<_> = open.known().copied().collect();
            known.sort_unstable();
            assert_eq!(known, left);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_connection_is_closed_when_another_ends_in_time() {
        let mut open = Open::default();
        begin(&mut open, pending());
        begin(&mut open, sleep(LEAST / 2));
        open.close_oldest(|()| Duration::ZERO).await;
        assert_eq!(open.count(), 1);
        sleep(LEAST).await;
        open.forget_ended();
        assert_eq!((open.count(), open.known().count()), (1, 1));
    }
}
