//! The tokens of all tenants of a process.

use std::{collections::HashMap, sync::Arc};

use super::Tokens;
use crate::{error::Error, store::Store, types::Tenant};

/// The tokens of all tenants of a process. Nothing leads from one tenant's to another's.
#[derive(Debug)]
pub struct Tenants<S>(HashMap<Tenant, Arc<Tokens<S>>>);

impl<S> Tenants<S> {
    /// Returns the tokens of a tenant.
    ///
    /// # Errors
    /// Returns [`Error::NotAllowed`] if the process doesn't serve it.
    pub fn of(&self, tenant: &Tenant) -> Result<&Arc<Tokens<S>>, Error> {
        let found = self.0.get(tenant);
        found.ok_or(Error::NotAllowed("the tenant isn't served"))
    }
}

impl<S: Store> FromIterator<Arc<Tokens<S>>> for Tenants<S> {
    fn from_iter<I: IntoIterator<Item = Arc<Tokens<S>>>>(all: I) -> Self {
        let all = all.into_iter();
        Self(
            all.map(|tokens| (tokens.tenant().clone(), tokens))
                .collect(),
        )
    }
}
