//! Calls of the store, and the way to it.

use std::{fmt, sync::Arc};

use super::{Collector, Families, number};
use crate::{
    store::{Failure, Figures, FullStore, Health, Observed, Operation},
    tokens::Tokens,
};

/// The calls of the tenants' stores.
pub struct StoreCalls<S>(pub Vec<Arc<Tokens<Observed<S>>>>);

impl<S: FullStore> StoreCalls<S> {
    /// Returns what `value` reads of each operation of each tenant's store, and its labels.
    fn each<V>(
        &self,
        value: impl Fn(&Figures, Operation) -> V,
    ) -> impl Iterator<Item = ([(&'static str, String); 2], V)> {
        self.0.iter().flat_map(move |tokens| {
            let figures = tokens.backend().observer();
            Operation::ALL.map(|of| {
                let labels = [
                    ("tenant", tokens.tenant().to_string()),
                    ("operation", of.name().to_owned()),
                ];
                (labels, value(figures, of))
            })
        })
    }
}

impl<S: FullStore> Collector for StoreCalls<S> {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        families.times(
            "store_seconds",
            "How long calls of the store took, also those that failed",
            self.each(Figures::took),
        )?;
        let failed =
            self.each(|figures, of| Failure::ALL.map(|failure| figures.failed(of, failure)));
        let failed = failed.flat_map(|([tenant, operation], failed)| {
            Failure::ALL
                .into_iter()
                .zip(failed)
                .map(move |(failure, calls)| {
                    let failure = ("failure", failure.name().to_owned());
                    ([tenant.clone(), operation.clone(), failure], calls)
                })
        });
        families.counters("store_failures", "Calls of the store that failed", failed)?;
        families.gauges(
            "store_running",
            "Calls of the store that are running",
            self.each(|figures, of| figures.tally(of).open),
        )
    }
}

impl<S> fmt::Debug for StoreCalls<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCalls").finish_non_exhaustive()
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
