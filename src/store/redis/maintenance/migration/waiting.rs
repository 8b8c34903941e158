//! Waiting for the broker that migrates, and telling the operator of it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::progress::{MigrationProgress, Progress};
use crate::store::redis::{keyspace::Key, maintenance::lease::Held};

/// After how many lives of a lease the log tells of it: 15 s. A broker that was killed keeps others away for one.
const TOLD_AFTER: u32 = 3;

/// Waits until a lease is free.
pub(super) struct Waiting {
    /// The key of the lease.
    key: Key,
    /// How long the leases of this version live.
    ttl: Duration,
    since: Option<Instant>,
    is_told: bool,
}

impl Waiting {
    pub(super) fn new(key: Key, ttl: Duration) -> Self {
        Self {
            key,
            ttl,
            since: None,
            is_told: false,
        }
    }

    /// Waits a moment. Says so the first time, and once more if it takes long: somebody who may write to Redis may have planted
    /// the lease.
    pub(super) async fn wait(&mut self, held: Held, progress: &dyn Progress<MigrationProgress>) {
        let since = *self.since.get_or_insert_with(|| {
            progress.waiting("waiting for another broker that migrates");
            Instant::now()
        });
        if !self.is_told && since.elapsed() >= self.ttl * TOLD_AFTER {
            self.is_told = true;
            self.tell(since.elapsed(), held.ends_in);
        }
        let millis = rand::random_range(100..250);
        sleep(Duration::from_millis(millis)).await;
    }

    fn tell(&self, waited: Duration, ends_in: Duration) {
        let (key, waited_s, ends_in_s) =
            (self.key.as_str(), waited.as_secs(), ends_in.as_secs_f32());
        if ends_in > self.ttl {
            tracing::warn!(
                key,
                waited_s,
                ends_in_s,
                "waiting for a lease that lives longer than a broker of this version takes one for: if no broker of another \
                 version migrates this tenant, see who writes to this Redis"
            );
        } else {
            tracing::info!(
                key,
                waited_s,
                ends_in_s,
                "still waiting for the lease of another broker that migrates: if there is none, see who writes to this Redis"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::{super::progress::Silent, *};
    use crate::store::redis::keyspace::Keyspace;

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_long_says_so_once_and_what_for() {
        const TTL: Duration = Duration::from_secs(5);
        let key = Keyspace::new(&"ns:name".parse().unwrap()).migration_lease();
        for (ends_in, level) in [
            (5_001, "WARN"),
            (59_000, "WARN"),
            (5_000, "INFO"),
            (1, "INFO"),
        ] {
            let told = Told::default();
            let writer = told.clone();
            let log = tracing_subscriber::fmt().with_writer(move || writer.clone());
            let _logging = tracing::subscriber::set_default(log.with_ansi(false).finish());
            let lines = || String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
            let mut waiting = Waiting::new(key.clone(), TTL);
            let (held, begun) = (
                Held {
                    ends_in: Duration::from_millis(ends_in),
                },
                Instant::now(),
            );
            while begun.elapsed() < 60 * TTL {
                waiting.wait(held, &Silent).await;
                if begun.elapsed() < 3 * TTL {
                    assert_eq!(lines(), "");
                }
            }
            let lines = lines();
            assert!(lines.contains(level) && lines.contains(&*key), "{lines}");
            assert_eq!(lines.lines().count(), 1, "{lines}");
        }
    }
}
