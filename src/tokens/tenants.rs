//! What a process keeps for each of its tenants.

use std::{collections::HashMap, sync::Arc};

use crate::{error::Error, types::Tenant};

/// What a process keeps for each of its tenants, such as their tokens. Nothing leads from one tenant's to another's.
#[derive(Debug)]
pub struct Tenants<T>(HashMap<Tenant, Arc<T>>);

impl<T> Tenants<T> {
    /// Returns what is kept for a tenant.
    ///
    /// # Errors
    /// Returns [`Error::NotAllowed`] if the process doesn't serve it.
    pub fn of(&self, tenant: &Tenant) -> Result<&Arc<T>, Error> {
        let found = self.0.get(tenant);
        found.ok_or(Error::NotAllowed("the tenant isn't served"))
    }
}

impl<T> FromIterator<(Tenant, Arc<T>)> for Tenants<T> {
    fn from_iter<I: IntoIterator<Item = (Tenant, Arc<T>)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}
