//! The tenants of a broker: what each is served by, and how its data is made ready and stays so.

use std::{
    convert::Infallible, fmt, future::pending, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{ServeError, health::Tenants};
use crate::{
    rpc::TenantDoor,
    store::{Error, FullStore, Health as _, Observed},
    tokens::Tokens,
};

/// How many tenants are made ready at once. Each that holds older data looks at all keys of Redis.
const AT_ONCE: usize = 4;
/// How long a tenant waits for others that are made ready. One that waits for a part of Redis that is away holds up nobody for
/// longer.
const TURN: Duration = Duration::from_secs(10);
/// How long a tenant that can't be served waits until its data is looked at again.
const AGAIN: Duration = Duration::from_secs(30);
/// How long to wait after the upkeep has panicked.
const RECOVERED: Duration = Duration::from_secs(1);

/// Makes the data of a tenant ready, and keeps it so.
pub trait Upkeep: Send + Sync + 'static {
    /// Makes the data ready. Until that is done, calls are refused.
    ///
    /// # Errors
    /// Returns a [`ServeError`] if calls can't be served.
    fn prepare(&self) -> BoxFuture<'_, Result<(), ServeError>>;

    /// Keeps the data ready. Completes if it has to be made ready again.
    fn stay(&self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    /// Gives up what others may be waiting for, at the end.
    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The upkeep of data that is always ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready;

impl Upkeep for Ready {
    fn prepare(&self) -> BoxFuture<'_, Result<(), ServeError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A tenant as it is served.
pub(super) struct Tenancy<S> {
    pub(super) tokens: Arc<Tokens<Observed<S>>>,
    pub(super) door: TenantDoor,
    pub(super) upkeep: Box<dyn Upkeep>,
}

impl<S> fmt::Debug for Tenancy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenancy")
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}

/// How the tenants of a broker share its beginning.
#[derive(Debug)]
pub(super) struct Beginning {
    turns: Semaphore,
    /// How many tenants haven't been tried.
    untried: watch::Sender<usize>,
    is_alone: bool,
}

impl Beginning {
    pub(super) fn of(tenants: usize) -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            untried: watch::Sender::new(tenants),
            is_alone: tenants == 1,
        }
    }

    /// Completes when each tenant was tried: its data is ready, or can't be made so.
    pub(super) async fn tried(&self) {
        // The sender outlives the call.
        _ = self
            .untried
            .subscribe()
            .wait_for(|untried| *untried == 0)
            .await;
    }
}

impl<S: FullStore> Tenancy<S> {
    /// Makes the tenant's data ready, admits its calls, and keeps it so for ever. Meanwhile calls are refused, and if the data
    /// can't be made ready, they stay so until that has changed.
    ///
    /// # Errors
    /// Returns the error for which calls can't be served, if this is the only tenant.
    pub(super) async fn keep(&self, beginning: &Beginning) -> Result<Infallible, ServeError> {
        let tenant = self.tokens.tenant();
        let (mut is_tried, mut has_served) = (false, false);
        let mut last = None;
        loop {
            let prepared = {
                let _turn = timeout(TURN, beginning.turns.acquire()).await;
                // A panic would end the process, and with it the calls of all tenants.
                let prepared = AssertUnwindSafe(self.upkeep.prepare()).catch_unwind();
                prepared.await.unwrap_or(Err(ServeError::Panicked))
            };
            if prepared.is_ok() {
                self.door.share.open();
                if is_tried {
                    tracing::info!(%tenant, "migrated again: calls are admitted");
                }
            }
            if !is_tried {
                is_tried = true;
                beginning.untried.send_modify(|untried| *untried -= 1);
            }
            match prepared {
                Ok(()) => {
                    (last, has_served) = (None, true);
                    let stayed = AssertUnwindSafe(self.upkeep.stay()).catch_unwind().await;
                    self.door.share.close();
                    if stayed.is_err() {
                        tracing::error!(%tenant, "the upkeep of this tenant panicked: it begins again");
                        sleep(RECOVERED).await;
                    }
                }
                Err(error) if beginning.is_alone => {
                    if has_served {
                        tracing::error!(
                            "the broker has served, and ends: Redis lost the record of the migration, or somebody who writes to it \
                             deleted that, and the data that is there can't be made ready again"
                        );
                    }
                    return Err(error);
                }
                Err(error) => {
                    let reason = error.to_string();
                    if last.as_ref() != Some(&reason) {
                        tracing::error!(%tenant, reason, "calls of this tenant are refused");
                        last = Some(reason);
                    }
                    sleep(AGAIN).await;
                }
            }
        }
    }
}

impl<S: FullStore> Tenants for [Tenancy<S>] {
    async fn look(&self) -> Vec<Result<(), Error>> {
        let stores: Vec<_> = self
            .iter()
            .map(|tenancy| tenancy.tokens.backend())
            .collect();
        let found = Observed::ready_each(&stores).await;
        let each = self.iter().zip(found);
        let each = each.map(|(tenancy, ready)| match tenancy.door.share.is_open() {
            true => ready,
            false => Err(Error::unavailable("the data isn't migrated")),
        });
        each.collect()
    }
}
