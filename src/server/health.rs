//! The service `grpc.health.v1`, which answers probes and load balancers.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::Instant;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::{
    proto::v1::{
        access_tokens_server::SERVICE_NAME as ACCESS_TOKENS,
        identities_server::SERVICE_NAME as IDENTITIES,
        pending_authorizations_server::SERVICE_NAME as PENDING_AUTHORIZATIONS,
        token_broker_server::SERVICE_NAME as TOKEN_BROKER,
    },
    store::{Error, READY_WITHIN},
    types::Tenant,
};

/// The name of the health service that is SERVING as long as the process runs. An orchestrator that
/// probes it doesn't restart healthy brokers during an outage of the store.
pub const LIVENESS: &str = "liveness";

/// The services whose status follows the store. The broker as a whole is last, so that its status is
/// only set once the others have theirs.
const FOLLOWING: [&str; 5] = [
    TOKEN_BROKER,
    ACCESS_TOKENS,
    IDENTITIES,
    PENDING_AUTHORIZATIONS,
    "",
];

/// How long to wait before the store is asked again, after it has answered. Each pause is up to a quarter shorter,
/// so that brokers don't ask all at once.
const PAUSE: Duration = Duration::from_millis(250);
/// How long to wait before the store is asked again, after it hasn't answered.
const SECOND_LOOK: Duration = Duration::from_millis(75);
/// How long the store may take to answer a look. Longer than it waits for its servers, because only the store knows why
/// they aren't there.
const PATIENCE: Duration = READY_WITHIN.saturating_add(Duration::from_millis(100));
/// How many looks in a row have to fail before the broker is NOT_SERVING. A single slow answer doesn't take all
/// brokers out at once.
const FAILURES: u32 = 2;
/// How long to wait before another reason of the same outage is logged again. It doubles each time.
const NEXT_REASON: Duration = Duration::from_secs(1);
/// How long that may become.
const NEXT_REASON_AT_MOST: Duration = Duration::from_secs(60);

/// The state of the health service.
#[derive(Clone, Debug)]
pub(super) struct Health {
    reporter: HealthReporter,
    /// Whether the broker as a whole is SERVING.
    serves: Arc<AtomicBool>,
    /// The service of each tenant.
    tenants: Arc<[String]>,
}

/// The tenants whose state the health follows.
pub(super) trait Tenants {
    /// Finds out whether each of them is served, in the order in which [`Health::new`] has them.
    async fn look(&self) -> Vec<Result<(), Error>>;
}

impl Health {
    /// Returns the health of a broker of these tenants. Each has a service of its own, as in `tenant/acme:prod`.
    pub(super) fn new<'a>(tenants: impl Iterator<Item = &'a Tenant>) -> Self {
        Self {
            reporter: HealthReporter::new(),
            serves: Arc::default(),
            tenants: tenants.map(|tenant| format!("tenant/{tenant}")).collect(),
        }
    }

    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Whether the broker as a whole is SERVING.
    pub(super) fn serves(&self) -> bool {
        self.serves.load(Ordering::Relaxed)
    }

    /// Sets the first statuses, before a client can ask. tonic-health would begin with SERVING.
    pub(super) async fn begin(&self) {
        self.stop().await;
        self.set(LIVENESS, true).await;
    }

    /// Follows the state of the tenants for ever, and of the broker, which is up while any of them is: up with the first
    /// look that succeeds, down with the second in a row that fails.
    pub(super) async fn follow(&self, tenants: &(impl Tenants + ?Sized)) -> Infallible {
        let mut looks = Looks::default();
        let mut each: Vec<_> = self.tenants.iter().map(|_| Looks::default()).collect();
        let mut logged = Logged::first("");
        loop {
            // A panic would end the process, and with it the calls in flight.
            let look = AssertUnwindSafe(tenants.look()).catch_unwind();
            let found = tokio::time::timeout(PATIENCE, look).await;
            let works = match found.as_ref().map(Result::as_deref) {
                Ok(Ok(found)) => whether_any(found).map_err(|error| error.detail().to_owned()),
                Ok(Err(_)) => Err("the look at it panicked".to_owned()),
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            };
            let found = found.ok().and_then(Result::ok).unwrap_or_default();
            for (number, looks) in each.iter_mut().enumerate() {
                let serves = looks.note(matches!(found.get(number), Some(Ok(()))));
                if let (Some(serves), Some(service)) = (serves, self.tenants.get(number)) {
                    self.set(service, serves).await;
                }
            }
            if let Some(serves) = looks.note(works.is_ok()) {
                match &works {
                    Ok(()) => tracing::info!("the store is reachable: SERVING"),
                    Err(reason) => {
                        tracing::warn!(reason, "the store is not usable: NOT_SERVING");
                        logged = Logged::first(reason);
                    }
                }
                for service in FOLLOWING {
                    self.set(service, serves).await;
                }
            } else if looks.serves == Some(false)
                && let Err(reason) = &works
                && logged.note_news(reason)
            {
                tracing::warn!(reason, "the store is not usable, for another reason");
            }
            let pause = match works {
                Ok(()) => PAUSE.mul_f64(rand::random_range(0.75..1.0)),
                Err(_) => SECOND_LOOK,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Reports NOT_SERVING, so that clients go to other brokers. Streams of `Watch` stay open.
    pub(super) async fn stop(&self) {
        for service in self
            .tenants
            .iter()
            .map(|service| &**service)
            .chain(FOLLOWING)
        {
            self.set(service, false).await;
        }
    }

    async fn set(&self, service: &str, serves: bool) {
        let status = match serves {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        self.reporter.set_service_status(service, status).await;
        if service.is_empty() {
            self.serves.store(serves, Ordering::Relaxed);
        }
    }
}

/// Returns the first error, unless any tenant is served.
fn whether_any(tenants: &[Result<(), Error>]) -> Result<(), &Error> {
    match tenants.iter().find_map(|tenant| tenant.as_ref().err()) {
        Some(error) if tenants.iter().all(Result::is_err) => Err(error),
        _ => Ok(()),
    }
}

/// What the looks at the store have shown.
#[derive(Debug, Default)]
struct Looks {
    /// Whether the broker serves. `None` before that is known.
    serves: Option<bool>,
    /// How many looks in a row have failed.
    failures: u32,
}

impl Looks {
    /// Takes note of a look. Returns whether the broker serves, if that has changed.
    fn note(&mut self, works: bool) -> Option<bool> {
        self.failures = if works { 0 } else { self.failures + 1 };
        let serves = match (works, self.serves) {
            (true, _) => true,
            (false, Some(true)) if self.failures < FAILURES => true,
            (false, _) => false,
        };
        (self.serves.replace(serves) != Some(serves)).then_some(serves)
    }
}

/// The reason of an outage that was logged last.
#[derive(Debug)]
struct Logged {
    reason: String,
    /// When another one may be logged.
    next: Instant,
    /// How long to wait after that.
    pause: Duration,
}

impl Logged {
    /// Returns the first reason of an outage. A better one is often known soon, so it may be logged at once.
    fn first(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            next: Instant::now(),
            pause: NEXT_REASON,
        }
    }

    /// Returns whether this reason is another one and may be logged now. Then it counts as logged.
    fn note_news(&mut self, reason: &str) -> bool {
        let now = Instant::now();
        if reason == self.reason || now < self.next {
            return false;
        }
        reason.clone_into(&mut self.reason);
        self.next = now + self.pause;
        self.pause = (2 * self.pause).min(NEXT_REASON_AT_MOST);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, future::pending, sync::Mutex};

    use tokio::time::Instant;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    use super::*;
    use crate::types::lock;

    /// A store that answers each look as it is told, and then never again.
    struct Told(Mutex<VecDeque<Answer>>);

    #[derive(Clone, Copy)]
    enum Answer {
        Works,
        Fails,
        Hangs,
        Panics,
    }

    impl Tenants for Told {
        async fn look(&self) -> Vec<Result<(), Error>> {
            let answer = {
                let mut answers = lock(&self.0);
                answers.pop_front()
            };
            match answer {
                Some(Answer::Works) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    vec![Ok(())]
                }
                Some(Answer::Fails) => vec![Err(Error::unavailable("told so"))],
                Some(Answer::Panics) => panic!("told so"),
                Some(Answer::Hangs) | None => pending().await,
            }
        }
    }

    /// Returns what a watcher sees during these looks, and how long after the start.
    async fn seen(answers: &[Answer]) -> Vec<(ServingStatus, Duration)> {
        let tenant: Tenant = "a:b".parse().unwrap();
        let health = Health::new([&tenant].into_iter());
        health.begin().await;
        let mut watch = HealthClient::new(health.service())
            .watch(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        let store = Told(Mutex::new(answers.iter().copied().collect()));
        let (begun, mut seen) = (Instant::now(), Vec::new());
        let watching = async {
            while let Some(told) = watch.message().await.unwrap() {
                let status = match told.status {
                    1 => ServingStatus::Serving,
                    _ => ServingStatus::NotServing,
                };
                seen.push((status, begun.elapsed()));
            }
        };
        let span = Duration::from_secs(3);
        _ = tokio::time::timeout(span, async {
            tokio::join!(health.follow(&store), watching)
        })
        .await;
        seen
    }

    fn statuses(seen: &[(ServingStatus, Duration)]) -> Vec<ServingStatus> {
        seen.iter().map(|(status, _)| *status).collect()
    }

    use Answer::{Fails, Hangs, Panics, Works};
    use ServingStatus::{NotServing, Serving};

    #[tokio::test(start_paused = true)]
    async fn one_look_that_fails_hangs_or_panics_changes_nothing() {
        let looks = [Works, Fails, Works, Hangs, Works, Panics, Works, Works];
        let seen = seen(&[&looks[..], &[Works; 9]].concat()).await;
        assert_eq!(statuses(&seen[..2]), [NotServing, Serving]);
        let down = seen.get(2).map_or(Duration::MAX, |(_, after)| *after);
        assert!(down > Duration::from_millis(2_500), "{seen:?}");
    }

    /// A store that hangs from one look on is noticed within 2 s, and its return within 1 s.
    #[tokio::test(start_paused = true)]
    async fn down_with_the_second_look_and_up_with_the_first() {
        let seen = seen(&[Works, Hangs, Hangs, Works]).await;
        assert_eq!(
            statuses(&seen[..4]),
            [NotServing, Serving, NotServing, Serving]
        );
        let [up, down, again] = [1, 2, 3].map(|at: usize| seen[at].1);
        assert!(
            down - up <= PAUSE + 2 * PATIENCE + SECOND_LOOK + SECOND_LOOK,
            "{seen:?}"
        );
        assert!(down - up < Duration::from_secs(2), "{seen:?}");
        assert!(again - down < Duration::from_millis(200), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_served_before_the_first_look_succeeds() {
        let seen = seen(&[Fails, Fails, Fails, Works]).await;
        assert_eq!(statuses(&seen[..2]), [NotServing, Serving]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_reason_is_logged_at_once_and_reasons_that_alternate_ever_more_rarely() {
        let mut logged = Logged::first("no answer");
        assert!(!logged.note_news("no answer"));
        assert!(logged.note_news("refused"));
        assert!(!logged.note_news("no answer"), "too soon");
        tokio::time::advance(NEXT_REASON).await;
        assert!(!logged.note_news("refused"), "known");
        assert!(logged.note_news("no answer"));
        let mut lines = 0;
        for second in 0..3600 {
            lines += u32::from(logged.note_news(["refused", "no answer"][second % 2]));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((50..80).contains(&lines), "{lines} lines in an hour");
    }
}
