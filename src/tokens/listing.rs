//! Listing a user's rows page by page, without a token.

use super::{Tokens, UserRows, note_unreadable, page_token};
use crate::{
    error::Error,
    store::Store,
    types::{ClientId, RowKey, UnixTime, UserId},
};

/// Rows on a page if the caller doesn't say.
const DEFAULT_PAGE: usize = 100;
/// Rows on a page at most.
const MAX_PAGE: usize = 1_000;

/// A row of a user, without its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSession {
    /// The session and the provider.
    pub key: RowKey,
    /// The OAuth client.
    pub client_id: Option<ClientId>,
    /// When the access token expires; `None`: never.
    pub expires_at: Option<UnixTime>,
    /// When the row was last written, where that is known.
    pub updated_at: Option<UnixTime>,
}

/// Some of a user's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows, ordered by session and provider.
    pub sessions: Vec<UserSession>,
    /// What to ask for the next page with; `None` on the last one.
    pub next: Option<String>,
}

impl<S: Store> Tokens<S> {
    /// Lists the rows of a user after `page_token`, at most `page_size` of them (0: 100).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a token that isn't one of this user's.
    pub async fn list_user_sessions(
        &self,
        user: &UserId,
        page_size: usize,
        page_token: Option<&str>,
    ) -> Result<Page, Error> {
        let size = if page_size == 0 {
            DEFAULT_PAGE
        } else {
            page_size.min(MAX_PAGE)
        };
        let tenant = &self.rules.tenant;
        let after = page_token
            .map(|token| page_token::decode(token, tenant, user))
            .transpose()?;

        let mut keys = self.store.user_rows(user).await?;
        keys.sort_unstable();
        keys.dedup();
        let start = after.map_or(0, |after| keys.partition_point(|key| *key <= after));
        let mut rows = UserRows::new(&self.store, user, &keys[start..]);
        let mut page = Page::default();
        while page.sessions.len() < size
            && let Some(chunk) = rows.next(size - page.sessions.len()).await?
        {
            for (key, decoded) in chunk {
                match decoded {
                    Ok(stored) => page.sessions.push(UserSession {
                        key: key.clone(),
                        client_id: stored.row.client_id.clone(),
                        expires_at: stored.row.expires_at,
                        updated_at: stored.row.updated_at,
                    }),
                    Err(unreadable) => note_unreadable(&key.provider, &unreadable),
                }
            }
        }
        if !rows.is_over() {
            let last = page.sessions.last();
            page.next = last.map(|last| page_token::encode(&last.key, tenant, user));
        }
        Ok(page)
    }
}
