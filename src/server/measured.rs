//! What a broker measures: everything that has metrics.

use std::sync::Arc;

use super::{
    Server,
    metrics::{Calls, Guards, Link, Metrics, Refreshes, Spans, StoreCalls, Trail, Waits},
};
use crate::store::FullStore;

impl<S: FullStore> Server<S> {
    /// Returns what this broker measures.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let tokens: Vec<_> = self
            .tenants
            .iter()
            .map(|tenancy| Arc::clone(&tenancy.tokens))
            .collect();
        let calls = self.tenants.iter().map(|tenancy| {
            let name = tenancy.tokens.tenant().to_string();
            (name, tenancy.door.clone())
        });
        let link = tokens.first().cloned();
        let metrics = Metrics::new()
            .with(Calls {
                tenants: calls.collect(),
                of_nobody: Arc::clone(&self.of_nobody),
            })
            .with(Waits(self.admission.clone()))
            .with(Refreshes::of(
                tokens
                    .iter()
                    .map(|tokens| (tokens.tenant(), tokens.providers())),
            ))
            .with(StoreCalls(tokens))
            .with(Arc::clone(&self.connections))
            .with(Trail(self.audit.clone()))
            .with(Spans(self.traces.clone()))
            .with(Guards {
                guard: self.guard.clone(),
                trust: Arc::clone(&self.trust),
            });
        match link {
            Some(link) => metrics.with(Link(link)),
            None => metrics,
        }
    }
}
