//! What refreshing has to tell the trail.

use std::sync::Arc;

use super::{Audit, Event, Kind, RowAccess, TokenKinds};
use crate::types::{RowKey, Tenant};

/// Writes events that belong to no call, for one tenant. The default writes none.
#[derive(Clone, Debug, Default)]
pub struct Witness(Option<(Audit, Arc<Tenant>)>);

impl Witness {
    /// Returns what writes the events of `tenant`.
    #[must_use]
    pub fn of(audit: Audit, tenant: Arc<Tenant>) -> Self {
        Self(audit.is_on().then_some((audit, tenant)))
    }

    /// Takes note that the answer to a refresh was about another user than the row.
    pub fn another_user(&self, key: &RowKey) {
        let Some((audit, tenant)) = &self.0 else {
            return;
        };
        let mut event = Event::new(Kind::AnotherUser, Some(Arc::clone(tenant)), "");
        let row = |names: &Arc<super::Names>| names.row(tenant, &key.session, &key.provider);
        event.rows.push(RowAccess {
            provider: key.provider.clone(),
            row: audit.names().map(row),
            tokens: TokenKinds::default(),
            reason: None,
        });
        audit.note(event);
    }
}
