//! Listing a user's rows page by page, without their tokens.

use super::{Tokens, UserRows, log_unreadable, page_token};
use crate::{
    error::Error,
    store::Store,
    types::{ClientId, RowKey, UnixTime, UserId},
};

/// How many rows a page has if the caller doesn't say.
const DEFAULT_PAGE: usize = 100;
/// How many rows a page has at most.
const MAX_PAGE: usize = 1_000;

/// A row of a user, without its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSession {
    /// The session and the provider.
    pub key: RowKey,
    /// The OAuth client.
    pub client_id: Option<ClientId>,
    /// When the access token expires. `None` means never.
    pub expires_at: Option<UnixTime>,
    /// When the row was last written, if that is known.
    pub updated_at: Option<UnixTime>,
}

/// One page of a listing of a user's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows, ordered by session and provider.
    pub sessions: Vec<UserSession>,
    /// The page token of the next page. `None` on the last page.
    pub next: Option<String>,
}

impl<S: Store> Tokens<S> {
    /// Lists at most `page_size` rows of a user, beginning after `page_token`. A `page_size` of 0 stands for
    /// 100, and one above 1,000 for 1,000.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if `page_token` isn't one of this user's.
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
                    Err(unreadable) => log_unreadable(&key.provider, &unreadable),
                }
            }
        }
        if !rows.is_exhausted() {
            let last = page.sessions.last();
            page.next = last.map(|last| page_token::encode(&last.key, tenant, user));
        }
        Ok(page)
    }
}
