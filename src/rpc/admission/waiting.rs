//! The calls that wait for providers.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
};

use super::{bound::Bound, tenant::TenantNumber};
use crate::types::{ProviderName, lock};

/// So many times as many calls may wait for one provider as are left for all others.
const FOR_ONE: usize = 3;

/// A provider of one tenant.
pub(super) type TenantsProvider = (TenantNumber, ProviderName);

/// The places for calls that wait for providers, of the process, a tenant or a connection.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The calls that wait.
    pub calls: Arc<Bound>,
    /// How many calls wait for each provider.
    providers: Mutex<HashMap<TenantsProvider, usize>>,
}

/// A call that waits for a provider. It no longer does when this is dropped.
#[derive(Debug)]
pub(super) struct WaitsFor {
    among: Arc<Waiting>,
    provider: TenantsProvider,
}

impl Waiting {
    /// Returns so many places, and one at least.
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            calls: Bound::new(places.max(1)),
            providers: Mutex::default(),
        })
    }

    /// Lets a call wait for a provider, unless so many wait for it that too few are left for all others: one that hangs
    /// can't take all places. `has_place`: the call waits for another one, too.
    pub fn wait_for(
        self: &Arc<Self>,
        provider: &TenantsProvider,
        has_place: bool,
    ) -> Option<WaitsFor> {
        let mut providers = lock(&self.providers);
        let waiting = providers.get(provider).copied().unwrap_or_default();
        // What is left when this call has its place.
        let left = (self.calls.free() + usize::from(has_place)).checked_sub(1)?;
        if waiting + 1 > FOR_ONE * left && self.calls.most() > 1 {
            return None;
        }
        providers.insert(provider.clone(), waiting + 1);
        Some(WaitsFor {
            among: Arc::clone(self),
            provider: provider.clone(),
        })
    }

    /// Returns how many calls wait for a provider.
    pub fn calls_for(&self, provider: &TenantsProvider) -> usize {
        lock(&self.providers)
            .get(provider)
            .copied()
            .unwrap_or_default()
    }
}

impl Drop for WaitsFor {
    fn drop(&mut self) {
        if let Entry::Occupied(mut waiting) =
            lock(&self.among.providers).entry(self.provider.clone())
        {
            *waiting.get_mut() -= 1;
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
    }
}
