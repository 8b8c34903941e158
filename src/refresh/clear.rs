//! Taking back what a provider refused in a bad hour (guarantees, section 6, R6).

use std::time::Duration;

use super::{decide::marked, rules::clear_refused};
use crate::{
    store::{Change, Error, Records, RowChange},
    types::{ReauthReason, RowKey, StoreTime, TokenHash},
};

/// Takes back the refusal of a row's refresh token, if the provider refused it within the last `span`. Returns whether there
/// was such a refusal. If `is_dry_run`, changes nothing.
///
/// # Errors
/// Returns an error if the store fails.
pub async fn clear<S: Records>(
    store: &S,
    key: &RowKey,
    span: Duration,
    is_dry_run: bool,
) -> Result<bool, Error> {
    loop {
        let seen = store.look(key).await?;
        let Some(stored) = seen.stored() else {
            return Ok(false);
        };
        let Some(token) = stored.row.refresh_token.as_ref().map(TokenHash::of) else {
            return Ok(false);
        };
        let mut record = seen.record.clone();
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let since = StoreTime::from_millis(seen.at.millis().saturating_sub(span));
        if !clear_refused(&mut record, token, since) {
            return Ok(false);
        }
        let unmarked = marked(stored, None);
        let is_marked = stored.row.reauth == Some(ReauthReason::Refused);
        let change = Change {
            record: &record,
            row: is_marked.then_some(RowChange {
                stored: &unmarked,
                keep_for: None,
            }),
            ends: None,
        };
        if is_dry_run || store.change(key, &seen, change).await? {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        refresh::{
            attempt::Attempt,
            rules::{Policy, take},
        },
        store::{Condition, MemoryStore, Put, Store},
        types::{AttemptId, ProviderName, Row, Secret, SessionId, Version},
    };

    /// Stores a row whose refresh token the provider has refused.
    async fn refused(store: &MemoryStore, for_good: bool) -> RowKey {
        let key = RowKey {
            session: SessionId::new("s").unwrap(),
            provider: ProviderName::new("p").unwrap(),
        };
        let refresh_token = Secret::new("r".to_owned());
        let token = TokenHash::of(refresh_token.as_ref().unwrap());
        let row = Row {
            refresh_token,
            ..Row::default()
        };
        let put = Put {
            key: &key,
            row: &row,
            version: Version::random(),
            keep_for: None,
            condition: Condition::Always,
            source: None,
            max_providers: 1,
        };
        store.put(put).await.unwrap();
        let id = AttemptId::random();
        let seen = store.look(&key).await.unwrap();
        let mut record = seen.record.clone();
        take(
            &mut record,
            token,
            id,
            &Policy::default(),
            (true, false),
            seen.at,
        );
        let change = Change {
            record: &record,
            row: None,
            ends: None,
        };
        assert!(store.change(&key, &seen, change).await.unwrap());
        let attempt = Attempt {
            store,
            key: &key,
            token,
            id,
        };
        attempt.refused(for_good).await;
        key
    }

    async fn mark(store: &MemoryStore, key: &RowKey) -> Option<ReauthReason> {
        store.get(key).await.unwrap().unwrap().unwrap().row.reauth
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_of_late_is_taken_back() {
        let store = MemoryStore::new();
        let key = refused(&store, false).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let of_late = Duration::from_secs(59);
        assert!(!clear(&store, &key, of_late, false).await.unwrap());
        let earlier = Duration::from_secs(61);
        assert!(clear(&store, &key, earlier, true).await.unwrap());
        assert_eq!(mark(&store, &key).await, Some(ReauthReason::Refused));
        assert!(clear(&store, &key, earlier, false).await.unwrap());
        assert_eq!(mark(&store, &key).await, None);
        assert!(!clear(&store, &key, earlier, false).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_refused_for_good_stays_so() {
        let store = MemoryStore::new();
        let key = refused(&store, true).await;
        assert!(!clear(&store, &key, Duration::MAX, false).await.unwrap());
        assert_eq!(mark(&store, &key).await, Some(ReauthReason::Refused));
    }
}
