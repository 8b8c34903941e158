//! What a call's event will say, as far as the handler knows it.

use std::sync::{Arc, Mutex};

use crate::{
    audit::{Audit, Name, Names, RowAccess, TokenKinds},
    error::Error,
    types::{ProviderName, Row, RowKey, SessionId, Tenant, UserId, lock},
};

/// The notes on a call. Clones share them. If there is no audit trail, nothing is noted.
#[derive(Clone, Debug, Default)]
pub struct Notes(Option<Arc<Notebook>>);

#[derive(Debug)]
struct Notebook {
    names: Arc<Names>,
    tenant: Arc<Tenant>,
    noted: Mutex<Noted>,
}

/// What was noted.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub rows: Vec<RowAccess>,
    pub session: Option<Name>,
    pub user: Option<Name>,
    pub count: Option<u64>,
    /// Why the call was denied.
    pub why: Option<&'static str>,
}

/// Which tokens of a row an answer may hold.
#[derive(Clone, Copy)]
pub(super) enum Given {
    /// All that it has.
    All,
    /// The access token, and the ID token if that was asked for.
    Access { id: bool },
}

impl Given {
    /// Returns which tokens of the row are given.
    pub fn of(self, row: &Row) -> TokenKinds {
        let has = TokenKinds {
            access: row.access_token.is_some(),
            refresh: row.refresh_token.is_some(),
            id: row.id_token.is_some(),
        };
        match self {
            Self::All => has,
            Self::Access { id } => TokenKinds {
                refresh: false,
                id: id && has.id,
                ..has
            },
        }
    }
}

impl Notes {
    /// Returns empty notes on a call about data of `tenant`.
    pub(super) fn new(audit: &Audit, tenant: &Arc<Tenant>) -> Self {
        Self(audit.names().map(|names| {
            Arc::new(Notebook {
                names: Arc::clone(names),
                tenant: Arc::clone(tenant),
                noted: Mutex::default(),
            })
        }))
    }

    /// Notes the row that the call names.
    pub(super) fn row(&self, key: &RowKey) {
        self.row_of(&key.session, &key.provider, TokenKinds::default(), None);
    }

    /// Notes a row of the answer, with the tokens that are in it or why there are none.
    pub(super) fn row_of(
        &self,
        session: &SessionId,
        provider: &ProviderName,
        tokens: TokenKinds,
        reason: Option<&'static str>,
    ) {
        self.note(|book, noted| {
            noted.rows.push(RowAccess {
                provider: provider.clone(),
                row: Some(book.names.row(&book.tenant, session, provider)),
                tokens,
                reason,
            });
        });
    }

    /// Notes the provider of a row that isn't known yet.
    pub(super) fn provider(&self, provider: &ProviderName) {
        self.note(|_, noted| {
            noted.rows.push(RowAccess {
                provider: provider.clone(),
                row: None,
                tokens: TokenKinds::default(),
                reason: None,
            });
        });
    }

    /// Notes which row it is whose provider was noted.
    pub(super) fn found(&self, key: &RowKey) {
        self.note(|book, noted| {
            if let Some(row) = noted.rows.last_mut() {
                row.row = Some(book.names.row(&book.tenant, &key.session, &key.provider));
            }
        });
    }

    /// Notes that the answer has tokens of the row that was noted.
    pub(super) fn gives(&self, given: Given, row: &Row) {
        self.note(|_, noted| {
            if let Some(noted) = noted.rows.last_mut() {
                noted.tokens = given.of(row);
            }
        });
    }

    /// Notes the session that the call is about as a whole.
    pub(super) fn session(&self, session: &SessionId) {
        self.note(|book, noted| noted.session = Some(book.names.session(&book.tenant, session)));
    }

    /// Notes the user that the call names.
    pub(super) fn user(&self, user: &UserId) {
        self.note(|book, noted| noted.user = Some(book.names.user(&book.tenant, user)));
    }

    /// Notes how many rows or identities were listed or deleted, or how many users or links were made.
    pub(super) fn count(&self, count: u64) {
        self.note(|_, noted| noted.count = Some(count));
    }

    /// Notes why the call fails.
    pub(super) fn error(&self, error: &Error) {
        if let Error::NotAllowed(why) | Error::UnknownCaller(why) = error {
            self.note(|_, noted| noted.why = Some(why));
        }
    }

    /// Notes why the caller doesn't get what is there, though its answer doesn't say that it is there.
    pub(super) fn denied(&self, why: &'static str) {
        self.note(|_, noted| noted.why = Some(why));
    }

    /// Returns what was noted, and forgets it.
    pub(super) fn take(&self) -> Noted {
        self.0
            .as_deref()
            .map(|book| std::mem::take(&mut *lock(&book.noted)))
            .unwrap_or_default()
    }

    fn note(&self, note: impl FnOnce(&Notebook, &mut Noted)) {
        if let Some(book) = &self.0 {
            note(book, &mut lock(&book.noted));
        }
    }
}

impl Notebook {}
