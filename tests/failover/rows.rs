//! The rows that a round writes and reads, and their names. Each round has users and sessions of
//! its own, so that its histories are short and start without rows.

use token_broker::proto::v1::{TokenEntry, UpstreamTokens};

use crate::history::Value;

/// The number of sessions of each user.
pub(crate) const SESSIONS: u8 = 2;
const PROVIDERS: [&str; 2] = ["github", "google"];

/// A row of the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowName {
    pub(crate) user: u32,
    pub(crate) session: u8,
    provider: u8,
}

/// A round. Its name is part of the names of its rows.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) name: String,
    pub(crate) tenant: String,
}

impl RowName {
    pub(crate) fn of_user(user: u32) -> impl Iterator<Item = Self> {
        (0..SESSIONS).flat_map(move |session| Self::of_session(user, session))
    }

    pub(crate) fn of_session(user: u32, session: u8) -> impl Iterator<Item = Self> {
        (0..PROVIDERS.len() as u8).map(move |provider| Self {
            user,
            session,
            provider,
        })
    }

    pub(crate) fn provider(self) -> &'static str {
        PROVIDERS[usize::from(self.provider)]
    }
}

impl Round {
    pub(crate) fn user(&self, user: u32) -> String {
        format!("{}-u{user}", self.name)
    }

    pub(crate) fn session(&self, row: RowName) -> String {
        format!("{}-u{}-s{}", self.name, row.user, row.session)
    }

    /// The key of the row in Redis.
    pub(crate) fn key(&self, row: RowName) -> String {
        let (session, provider) = (self.session(row), row.provider());
        format!("{}upstream:{session}:{provider}", prefix(&self.tenant))
    }

    /// Returns the row as an explanation shows it.
    pub(crate) fn name(&self, row: RowName) -> String {
        format!("{} {}", self.session(row), row.provider())
    }

    /// Returns the row to store. Each token contains the number of the write.
    pub(crate) fn tokens(&self, row: RowName, number: u64) -> UpstreamTokens {
        UpstreamTokens {
            access_token: format!("access {number}"),
            refresh_token: format!("refresh {number}"),
            user_id: self.user(row.user),
            ..UpstreamTokens::default()
        }
    }
}

/// Returns the prefix of all keys of a tenant.
pub(crate) fn prefix(tenant: &str) -> String {
    format!("thv:auth:{{{tenant}}}:")
}

/// Returns the number of the write that a reader was shown.
pub(crate) fn number(entry: &TokenEntry) -> Value {
    let tokens = entry.tokens.as_ref().unwrap();
    number_of(&tokens.access_token, &tokens.refresh_token)
}

/// Returns the number in a row as Redis holds it.
pub(crate) fn number_in(text: &str) -> Value {
    let row: serde_json::Value = serde_json::from_str(text).unwrap();
    let token = |field: &str| row[field].as_str().unwrap();
    number_of(token("access_token"), token("refresh_token"))
}

fn number_of(access: &str, refresh: &str) -> Value {
    let access = access.strip_prefix("access ");
    assert_eq!(access, refresh.strip_prefix("refresh "), "a torn row");
    Some(access.unwrap().parse().unwrap())
}
