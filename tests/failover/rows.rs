//! The rows that a round writes and reads, and their names. Each round has users and sessions of
//! its own, so that its histories are short and start without rows.

use token_broker::proto::v1::{TokenEntry, UpstreamTokens};

use crate::history::Value;

/// What an answer showed of a row: the number of the write that it shows, and of the one whose refresh token it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) value: Value,
    pub(crate) refresh: Option<u64>,
}

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

    /// Returns the row to store. Each token contains the number of the write. A write that carries a refresh token
    /// forward brings none.
    pub(crate) fn tokens(&self, row: RowName, number: u64) -> UpstreamTokens {
        let refresh_token = match carries(number) {
            true => String::new(),
            false => format!("refresh {number}"),
        };
        UpstreamTokens {
            access_token: format!("access {number}"),
            refresh_token,
            user_id: self.user(row.user),
            ..UpstreamTokens::default()
        }
    }
}

/// Returns the prefix of all keys of a tenant.
pub(crate) fn prefix(tenant: &str) -> String {
    format!("thv:auth:{{{tenant}}}:")
}

/// Returns whether the write with this number carries a refresh token forward.
pub(crate) fn carries(number: u64) -> bool {
    number.is_multiple_of(2)
}

/// Returns what a reader was shown.
pub(crate) fn shown(entry: &TokenEntry) -> Shown {
    let tokens = entry.tokens.as_ref().unwrap();
    shown_by(&tokens.access_token, &tokens.refresh_token)
}

/// Returns what a row shows as Redis holds it.
pub(crate) fn shown_in(text: &str) -> Shown {
    let row: serde_json::Value = serde_json::from_str(text).unwrap();
    let token = |field: &str| row[field].as_str().unwrap_or_default();
    shown_by(token("access_token"), token("refresh_token"))
}

fn shown_by(access: &str, refresh: &str) -> Shown {
    let number = |token: &str, kind: &str| token.strip_prefix(kind)?.parse().ok();
    let value: u64 = number(access, "access ").expect("a token of this test");
    let refresh = number(refresh, "refresh ");
    if !carries(value) {
        assert_eq!(Some(value), refresh, "a torn row");
    }
    Shown {
        value: Some(value),
        refresh,
    }
}
