//! Keeping access tokens valid: who redeems a refresh token at its provider, and what is done with the answer
//! (guarantees, section 6).
//!
//! | module | what it is |
//! |---|---|
//! | [`provider`] | one provider: its settings, and the calls to its endpoints. Knows no store and no other broker |
//! | [`Providers`], [`Configured`] | all providers of a tenant; one of them, with what the process keeps about it |
//! | [`breaker`], [`gate`], `permit` | what keeps a process from calling a provider too often |
//! | [`waits`] | asking whether a call may wait for a provider |
//! | [`rules`] | what an attempt may do, and what becomes of the record that all brokers share: no clock, no store, no network |
//! | `decide` | what that means for the row and for who asked |
//! | `redeem`, `send`, `attempt` | the driver: looks, decides and takes; sends; writes until it is written |
//! | `flights` | the refreshes that this process runs, and who waits for them |
//! | `told` | what the log says about rows in doubt |
//! | `merge`, `subject`, `due` | the row after an answer, whether the answer is about its user, and when it is time |
//! | `revocation` | revokes the tokens of deleted rows in the background |
//! | `clear` | takes back what a provider refused in a bad hour |
//! | `lease`, `completion`, `completions` | the same for callers that redeem refresh tokens themselves |

mod attempt;
mod back_off;
pub mod breaker;
mod clear;
mod clock;
mod completion;
mod completions;
mod configured;
mod counts;
mod decide;
mod due;
mod failures;
mod flights;
pub mod gate;
mod lease;
mod merge;
mod permit;
pub mod provider;
mod providers;
mod redeem;
mod revocation;
pub mod rules;
mod send;
mod subject;
mod told;
pub mod waits;

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tracing::Instrument;

pub use self::{
    clear::{Cleared, Kept, clear},
    completion::{Completed, Completion, Outcome},
    configured::Configured,
    counts::Counts,
    due::{Due, Terms, due},
    lease::Begun,
    providers::{Deleted, Providers},
    revocation::{RevocationFigures, Revocations, WAITING},
};
use self::{
    completions::Completions,
    flights::{End, Flights, Joined, Progress, served},
    redeem::Refresh,
};
use crate::{
    audit::Witness,
    error::Error,
    store::Records,
    traces::{self, Attribute, Kind, Link},
    types::{RowKey, StoredRow, Version},
};

/// How long a refresh that nobody waits for is tried.
const BEHIND: Duration = Duration::from_secs(30);

/// How long a broker that stops tries to write what providers answered.
const TO_WRITE: Duration = Duration::from_secs(10);

/// Refreshes the rows of one tenant. Clones share everything.
#[derive(Debug)]
pub struct Refresher<S>(Arc<Shared<S>>);

impl<S> Clone for Refresher<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Shared<S> {
    store: Arc<S>,
    providers: Providers,
    options: RefresherOptions,
    flights: Flights,
    completions: Completions,
    stopping: watch::Sender<bool>,
}

/// The settings of a [`Refresher`].
#[derive(Clone, Debug)]
pub struct RefresherOptions {
    /// How long a refresh token is assumed to live if neither the answer nor the provider's settings say.
    pub refresh_lifetime: Duration,
    /// Whether tokens of providers that rotate them are refreshed while older software may do so, too.
    pub in_grace: bool,
    /// Who is told of what belongs to no call.
    pub witness: Witness,
}

/// What became of a refresh, for who waited for it.
#[derive(Clone, Debug)]
pub enum Refreshed {
    /// The row was refreshed, and is this now.
    Row(Box<StoredRow>),
    /// The row was stored or refreshed meanwhile, and is this now. It may have to be refreshed, too.
    Fresher(Box<StoredRow>),
    /// The row was refreshed shortly before because its access token was refused. It is as the caller knows it.
    Throttled,
}

impl<S> Refresher<S> {
    /// Returns a refresher of the rows in `store`.
    #[must_use]
    pub fn new(store: Arc<S>, providers: Providers, options: RefresherOptions) -> Self {
        Self(Arc::new(Shared {
            store,
            providers,
            options,
            flights: Flights::default(),
            completions: Completions::default(),
            stopping: watch::Sender::new(false),
        }))
    }

    /// Returns the providers.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.0.providers
    }

    /// Returns a row as it will be, if the provider has answered this process and the row can't be stored yet. `shown` is the
    /// version that a row has which can't be read: if it is another one, somebody has replaced the row since.
    #[must_use]
    pub fn unsaved(&self, key: &RowKey, shown: Option<Version>) -> Option<StoredRow> {
        self.0.flights.unsaved(key, shown)
    }

    /// Begins no refresh any more. Those that wait end.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Waits until what was sent to providers is answered and written, but no longer than the providers have to answer and
    /// 10 s. Returns whether all of it is written. Then logs what came of the calls since the start.
    pub async fn stopped(&self) -> bool {
        let providers = self.0.providers.iter();
        let timeouts = providers.map(|configured| configured.provider.options().timeout);
        let longest = timeouts.max().unwrap_or_default();
        let ended = timeout(longest + TO_WRITE, self.0.flights.ended()).await;
        if ended.is_err() {
            let refreshes = self.0.flights.count();
            tracing::error!(
                refreshes,
                "refreshes whose results can't be stored are lost"
            );
        }
        for configured in self.0.providers.iter() {
            configured.log_counts();
        }
        ended.is_ok()
    }

    fn configured(&self, key: &RowKey) -> Result<&Configured, Error> {
        let configured = self.0.providers.get(&key.provider);
        configured.ok_or_else(|| self.0.providers.not_configured(&key.provider))
    }
}

impl<S: Records> Refresher<S> {
    /// Refreshes a row that has this version, or joins a refresh of it that runs. Waits until `deadline` at the latest.
    ///
    /// `is_rejected` says that a resource server refused the access token.
    ///
    /// The refresh goes on if the caller leaves.
    ///
    /// # Errors
    /// Returns [`Error::ProviderUnavailable`] if the refresh isn't done in time, and the errors that say why the row can't
    /// be refreshed.
    pub async fn refresh(
        &self,
        key: &RowKey,
        version: Version,
        is_rejected: bool,
        deadline: Instant,
    ) -> Result<Refreshed, Error> {
        let configured = self.configured(key)?;
        let Some(_waiter) = configured.gate.wait(&key.provider) else {
            configured.counts.turned_away.up();
            return Err(Error::provider_unavailable(
                "too many callers wait for the provider",
            ));
        };
        configured.counts.waited.up();
        let joined = self.join(key, version, is_rejected, Instant::now());
        let _waiting = waiting(joined.link);
        let (mut progress, mut is_old) = (joined.progress, joined.is_of_another_version);
        let mut last = None;
        loop {
            let now = match std::mem::take(&mut is_old) {
                true => Progress::Running,
                false => progress.borrow_and_update().clone(),
            };
            match now {
                Progress::Unsaved(stored, until) if served(&stored, until).is_some() => {
                    return Ok(Refreshed::Row(stored));
                }
                Progress::Running | Progress::Unsaved(..) => {}
                Progress::Ended(End::Row(stored)) => return Ok(Refreshed::Row(stored)),
                Progress::Ended(End::Fresher(stored)) => return Ok(Refreshed::Fresher(stored)),
                Progress::Ended(End::Throttled) => return Ok(Refreshed::Throttled),
                Progress::Ended(End::Failed(error)) => return Err(error),
                Progress::BackedOff(until, error) => {
                    if until >= deadline {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
            match timeout_at(deadline, progress.changed()).await {
                Ok(Ok(())) => {}
                // The task that refreshes has died.
                Ok(Err(_)) => {
                    return Err(Error::provider_unavailable(
                        "a refresh ended without an outcome",
                    ));
                }
                Err(_) => {
                    return Err(last
                        .unwrap_or_else(|| Error::provider_unavailable("no answer came in time")));
                }
            }
        }
    }

    /// Begins to refresh a row that has this version, unless a refresh of it runs. Nobody waits for it.
    pub fn refresh_behind(&self, key: &RowKey, version: Version) {
        if self.configured(key).is_ok() {
            self.join(key, version, false, Instant::now() + BEHIND);
        }
    }

    fn join(
        &self,
        key: &RowKey,
        version: Version,
        is_rejected: bool,
        lingers_until: Instant,
    ) -> Joined {
        let mut joined = self.0.flights.join(key, version);
        if let Some(flight) = joined.flight.take() {
            let (shared, key) = (Arc::clone(&self.0), key.clone());
            let span = joined.span.take();
            if let Some(span) = &span
                && shared.providers.get(&key.provider).is_some()
            {
                span.note(Attribute::Provider(key.provider.clone()));
            }
            let refreshing = async move {
                let slot = shared.flights.slot(key.clone(), flight);
                let Some(configured) = shared.providers.get(&key.provider) else {
                    let error = shared.providers.not_configured(&key.provider);
                    return slot.end(End::Failed(error));
                };
                let refresh = Refresh {
                    shared: &shared,
                    configured,
                    key: &key,
                    version,
                    is_rejected,
                    lingers_until,
                    slot,
                };
                traces::during(span.as_ref(), pin!(refresh.run())).await;
            };
            tokio::spawn(refreshing.in_current_span());
        }
        joined
    }
}

/// Returns the span of who waits for a refresh, of which `link` is the span.
fn waiting(link: Option<Link>) -> Option<traces::Span> {
    let span = traces::child("refresh_wait", Kind::Internal)?;
    if let Some(link) = link {
        span.relate(link);
    }
    Some(span)
}

impl<S> Shared<S> {
    /// Returns how long a refresh token for this row is assumed to live if no answer says.
    fn refresh_lifetime(&self, key: &RowKey) -> Duration {
        let usual = self.options.refresh_lifetime;
        self.providers.refresh_lifetime(&key.provider, usual)
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        _ = stopping.wait_for(|&stopping| stopping).await;
    }
}
