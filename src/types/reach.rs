//! How far a caller reaches: which rows exist for it.

use std::collections::BTreeSet;

use super::{ClientId, ProviderName, Row};

/// The providers that a caller may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProviderSet {
    /// All, also those that nobody has named yet.
    #[default]
    All,
    /// These and no others.
    Named(BTreeSet<ProviderName>),
}

impl ProviderSet {
    /// Whether the provider is one of them.
    #[must_use]
    pub fn has(&self, provider: &ProviderName) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(provider),
        }
    }

    /// Whether there is no provider that isn't one of them.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// The rows that a caller may know of. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The providers whose rows exist for the caller.
    pub providers: ProviderSet,
    /// The client that a row must belong to, for a caller that reads no others. `None`: any client, or none.
    pub client: Option<ClientId>,
}

impl Reach {
    /// Whether the row belongs to the client that the caller is kept to, if it is kept to one. Says nothing about its
    /// provider, which a row doesn't name.
    #[must_use]
    pub fn is_of_client(&self, row: &Row) -> bool {
        self.client.is_none() || self.client == row.client_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_client_is_out_of_reach_for_a_caller_that_is_kept_to_one() {
        let client = ClientId::new("c").ok();
        let of = |client_id| Row {
            client_id,
            ..Row::default()
        };
        let kept = Reach {
            client: client.clone(),
            ..Reach::default()
        };
        assert!(kept.is_of_client(&of(client)));
        assert!(!kept.is_of_client(&of(None)));
        assert!(!kept.is_of_client(&of(ClientId::new("d").ok())));
        assert!(Reach::default().is_of_client(&of(None)));
    }
}
