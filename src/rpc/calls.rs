//! What every call passes through: the limit on calls in flight, the deadline, the log line.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tonic::{Response, Status, metadata::MetadataMap};

use super::status;
use crate::error::Error;

/// tonic, around this, answers CANCELLED when the caller's deadline passes. This much earlier the
/// handler answers what it is: `DEADLINE_EXCEEDED`.
const AHEAD_OF_TONIC: Duration = Duration::from_millis(5);

/// Admits calls and bounds them. Clones share everything.
#[derive(Clone, Debug)]
pub struct Calls {
    permits: Arc<Semaphore>,
    most: usize,
    longest: Duration,
    migrating: Arc<AtomicBool>,
}

impl Calls {
    /// Admits `most` calls at once, each for `longest` at most. Refuses all of them as
    /// [`Error::Migrating`] until [`Calls::open`].
    #[must_use]
    pub fn new(most: usize, longest: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(most)),
            most,
            longest,
            migrating: Arc::new(AtomicBool::new(true)),
        }
    }

    /// From now on calls are admitted.
    pub fn open(&self) {
        self.migrating.store(false, Ordering::Release);
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.most - self.permits.available_permits()
    }

    /// Waits until no call is in flight. Calls that come meanwhile are refused as too many.
    pub async fn idle(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        self.permits
            .acquire_many(all)
            .await
            .map(drop)
            .unwrap_or_default();
    }

    /// Runs a call, and writes its line to the log.
    ///
    /// # Errors
    /// What `call` fails with, or that it isn't admitted, or that its time has passed: as a status.
    pub async fn run<T>(
        &self,
        rpc: &'static str,
        metadata: &MetadataMap,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Response<T>, Status> {
        let started = Instant::now();
        let outcome = self.admitted(started, metadata, call).await;
        match &outcome {
            Ok(_) => tracing::debug!(rpc, code = "OK", micros = micros(started), "call"),
            Err(error) => tracing::debug!(
                rpc,
                code = status::code_name(error),
                reason = status::reason(error),
                detail = error.operator_detail(),
                micros = micros(started),
                "call"
            ),
        }
        outcome
            .map(Response::new)
            .map_err(|error| status::from_error(&error))
    }

    async fn admitted<T>(
        &self,
        started: Instant,
        metadata: &MetadataMap,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if self.migrating.load(Ordering::Acquire) {
            return Err(Error::Migrating);
        }
        let _permit = self.permits.try_acquire().map_err(|_| Error::Overloaded)?;
        let allowed = match callers_timeout(metadata) {
            Some(timeout) => timeout.saturating_sub(AHEAD_OF_TONIC).min(self.longest),
            None => self.longest,
        };
        timeout_at(started + allowed, call)
            .await
            .unwrap_or(Err(Error::DeadlineExceeded))
    }
}

fn micros(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The caller's timeout, from the header `grpc-timeout` ("PROTOCOL-HTTP2" of gRPC): at most eight
/// digits and a unit. One that is malformed doesn't count, as in tonic.
fn callers_timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn metadata(timeout: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
        metadata
    }

    fn open(most: usize, longest: Duration) -> Calls {
        let calls = Calls::new(most, longest);
        calls.open();
        calls
    }

    #[test]
    fn timeouts_on_the_wire() {
        for (text, expected) in [
            ("250m", Some(Duration::from_millis(250))),
            ("1S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("999999999S", None),
            ("1", None),
            ("S", None),
            ("+1S", None),
            ("1x", None),
        ] {
            assert_eq!(callers_timeout(&metadata(text)), expected, "{text}");
        }
        assert_eq!(callers_timeout(&MetadataMap::new()), None);
    }

    #[tokio::test]
    async fn one_call_too_many_is_refused_at_once() {
        let calls = open(1, Duration::from_secs(60));
        let held = calls.clone();
        let (started, running) = tokio::sync::oneshot::channel();
        let first = tokio::spawn(async move {
            let metadata = MetadataMap::new();
            let call = async move {
                started.send(()).ok();
                pending::<Result<(), Error>>().await
            };
            held.run("Get", &metadata, call).await
        });
        running.await.unwrap();
        assert_eq!(calls.in_flight(), 1);
        let refused = calls
            .run("Get", &MetadataMap::new(), async { Ok(()) })
            .await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::ResourceExhausted);
        first.abort();
        first.await.unwrap_err();
        assert!(
            calls
                .run("Get", &MetadataMap::new(), async { Ok(()) })
                .await
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_deadline_ends_a_call() {
        let calls = open(1, Duration::from_secs(10));
        for (timeout, expected) in [("100m", 0.1), ("30S", 10.0)] {
            let started = Instant::now();
            let call = pending::<Result<(), Error>>();
            let ended = calls
                .run("Get", &metadata(timeout), call)
                .await
                .unwrap_err();
            assert_eq!(ended.code(), tonic::Code::DeadlineExceeded);
            let took = started.elapsed().as_secs_f64();
            assert!(
                took <= expected && took > expected - 0.01,
                "{timeout}: {took}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_is_admitted_while_migrating() {
        let calls = Calls::new(1, Duration::from_secs(1));
        let refused = calls
            .run("Get", &MetadataMap::new(), async { Ok(()) })
            .await
            .unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
    }
}
