//! Calls of the store, and the way to it.

use std::{fmt, sync::Arc};

use super::{Collector, Families, number};
use crate::{
    store::{Failure, Figures, FullStore, Health, Observed, Operation},
    tokens::Tokens,
    types::Tenant,
};

/// The calls of one tenant's store.
pub struct StoreCalls<S> {
    /// The tenant.
    pub tenant: Tenant,
    /// Whose store it is.
    pub tokens: Arc<Tokens<Observed<S>>>,
}

impl<S: FullStore> StoreCalls<S> {
    fn figures(&self) -> &Figures {
        self.tokens.backend().observer()
    }

    fn labels(&self, operation: Operation) -> [(&'static str, String); 2] {
        [
            ("tenant", self.tenant.to_string()),
            ("operation", operation.name().to_owned()),
        ]
    }
}

impl<S: FullStore> Collector for StoreCalls<S> {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let figures = self.figures();
        let took = Operation::ALL.map(|of| (self.labels(of), figures.took(of)));
        families.times(
            "store_seconds",
            "How long calls of the store took, also those that failed",
            took,
        )?;
        let failed = Operation::ALL.into_iter().flat_map(|of| {
            Failure::ALL.map(|failure| {
                let [tenant, operation] = self.labels(of);
                let labels = [tenant, operation, ("failure", failure.name().to_owned())];
                (labels, figures.failed(of, failure))
            })
        });
        families.counters("store_failures", "Calls of the store that failed", failed)?;
        let running = Operation::ALL.map(|of| (self.labels(of), figures.tally(of).open));
        families.gauges(
            "store_running",
            "Calls of the store that are running",
            running,
        )
    }
}

impl<S> fmt::Debug for StoreCalls<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCalls")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// The process's way to its store, if that is outside of the process.
pub struct Link<S>(pub Arc<Tokens<Observed<S>>>);

impl<S: FullStore> Collector for Link<S> {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let Some(figures) = self.0.backend().link() else {
            return Ok(());
        };
        for (name, help, value) in [
            (
                "redis_connections_opened",
                "Connections to Redis that were opened",
                figures.connected,
            ),
            (
                "redis_connections_failed",
                "Attempts to connect to Redis that failed",
                figures.failed,
            ),
            (
                "redis_primary_terms",
                "Times that a server began to be used as a primary, the first ones included: a failover adds one",
                figures.terms,
            ),
        ] {
            families.counters(name, help, [([], value)])?;
        }
        let waiting = [([], number(figures.waiting))];
        families.gauges(
            "redis_writes_waiting",
            "Writes that wait for replicas, or for their turn to",
            waiting,
        )
    }
}

impl<S> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
