//! Listing a user's rows page by page, without their tokens.

use std::collections::HashSet;

use super::{
    Tokens, log_unreadable, page_token,
    user_rows::{CHUNK, own_rows},
};
use crate::{
    error::Error,
    store::Store,
    types::{ClientId, Reach, RowKey, UnixTime, UserId},
};

/// How many rows a page has if the caller doesn't say.
const DEFAULT_PAGE: usize = 100;
/// How many rows a page has at most.
const MAX_PAGE: usize = 1_000;
/// How many keys are looked at for one page at most. A caller that reaches few of the user's rows gets shorter pages.
const LOOKED_AT: usize = 4_000;

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
    /// The rows, in no particular order.
    pub sessions: Vec<UserSession>,
    /// The page token of the next page. `None` on the last page.
    pub next: Option<String>,
}

impl<S: Store> Tokens<S> {
    /// Lists at most `page_size` rows of a user within `reach`, beginning after `page_token`. A `page_size` of 0 stands for
    /// 100, and one above 1,000 for 1,000. The last page may be empty. Where the user has many rows that aren't within
    /// `reach`, any page may be short or empty.
    ///
    /// The pages together have each row that is there all the time. A row may come twice if others are stored or
    /// deleted, or another server takes over, between two pages.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if `page_token` isn't one of this user's.
    pub async fn list_user_sessions(
        &self,
        user: &UserId,
        page_size: usize,
        page_token: Option<&str>,
        reach: &Reach,
    ) -> Result<Page, Error> {
        let size = if page_size == 0 {
            DEFAULT_PAGE
        } else {
            page_size.min(MAX_PAGE)
        };
        let tenant = &self.rules.tenant;
        let mut position = page_token
            .map(|token| page_token::decode(token, tenant, user))
            .transpose()?;

        let (mut page, mut listed) = (Page::default(), HashSet::new());
        let mut looked_at = 0;
        loop {
            let missing = size - page.sessions.len();
            let found = self
                .store
                .user_rows(user, position.as_ref(), missing)
                .await?;
            let mut keys = found.keys;
            looked_at += keys.len();
            keys.retain(|key| reach.providers.has(&key.provider) && listed.insert(key.clone()));
            while !keys.is_empty() {
                let rest = keys.split_off(keys.len().min(CHUNK));
                for (key, decoded) in own_rows(&self.store, user, keys).await? {
                    match decoded {
                        Ok(stored) if !reach.is_of_client(&stored.row) => {}
                        Ok(stored) => page.sessions.push(UserSession {
                            key,
                            client_id: stored.row.client_id,
                            expires_at: stored.row.expires_at,
                            updated_at: stored.row.updated_at,
                        }),
                        Err(unreadable) => log_unreadable(&key.provider, &unreadable),
                    }
                }
                keys = rest;
            }
            position = found.next;
            if position.is_none() || page.sessions.len() >= size || looked_at >= LOOKED_AT {
                break;
            }
        }
        page.next = position.map(|position| page_token::encode(&position, tenant, user));
        Ok(page)
    }
}
