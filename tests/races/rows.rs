//! The few rows that all callers use, and what they store.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use token_broker::proto::v1::UpstreamTokens;

pub(crate) const SESSIONS: u32 = 6;
pub(crate) const USERS: u32 = 3;
const PROVIDERS: [&str; 2] = ["github", "corp-okta"];

/// The name of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowName {
    pub(crate) session: u32,
    pub(crate) provider: &'static str,
}

impl RowName {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SESSIONS).flat_map(Self::of_session)
    }

    pub(crate) fn of_session(session: u32) -> impl Iterator<Item = Self> {
        PROVIDERS
            .into_iter()
            .map(move |provider| Self { session, provider })
    }

    pub(crate) fn session_id(self) -> String {
        session_id(self.session)
    }
}

pub(crate) fn session_id(session: u32) -> String {
    format!("session-{session}")
}

pub(crate) fn user_id(user: u32) -> String {
    format!("user-{user}")
}

/// One attempt to write. Everything that it stores identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) task: u32,
    /// The number of the attempt within its task.
    pub(crate) number: u32,
    pub(crate) user: Option<u32>,
    /// Whether the row has no refresh token, so that the broker keeps the one that it knows.
    pub(crate) carries: bool,
}

impl Attempt {
    /// Returns a number that no other attempt has.
    pub(crate) fn id(self) -> u64 {
        u64::from(self.task) << 32 | u64::from(self.number)
    }

    /// Returns the tokens to store. Rows live for ever, for weeks or for hours, by turns, so that
    /// the lifetimes of the indexes must follow.
    pub(crate) fn tokens(self) -> UpstreamTokens {
        let hours = |hours: u32| (self.number % 4 == hours).then(|| in_hours(hours));
        let name = self.name();
        UpstreamTokens {
            refresh_token: if self.carries {
                String::new()
            } else {
                format!("refresh-{name}")
            },
            id_token: format!("id-{name}"),
            user_id: self.user.map(user_id).unwrap_or_default(),
            upstream_subject: format!("subject-{:?}", self.user),
            expires_at: hours(1).or(hours(2)),
            refresh_expires_at: hours(2).map(|_| in_hours(5)),
            session_expires_at: hours(3),
            access_token: name,
            ..Default::default()
        }
    }

    /// Returns the attempt that `tokens` come from, if all of them come from the same one.
    pub(crate) fn of(tokens: &UpstreamTokens) -> Option<Self> {
        let mut parts = tokens.access_token.split('-');
        let mut number = || parts.next()?.parse().ok();
        let (task, nth, user, carries) = (number()?, number()?, number()?, number()?);
        let attempt = Self {
            task,
            number: nth,
            user: (user < USERS).then_some(user),
            carries: carries == 1,
        };
        let sent = attempt.tokens();
        let whole = tokens.access_token == sent.access_token
            && (carries == 1 || tokens.refresh_token == sent.refresh_token)
            && tokens.id_token == sent.id_token
            && tokens.user_id == sent.user_id
            && tokens.upstream_subject == sent.upstream_subject;
        whole.then_some(attempt)
    }

    fn name(self) -> String {
        let user = self.user.unwrap_or(USERS);
        format!(
            "{}-{}-{user}-{}",
            self.task,
            self.number,
            u32::from(self.carries)
        )
    }
}

fn in_hours(hours: u32) -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    Timestamp {
        seconds: i64::try_from(now).unwrap() + 3600 * i64::from(hours),
        nanos: 0,
    }
}
