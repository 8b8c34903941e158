//! A row as it lies in memory: its texts in one piece, so that a million rows take little more than their texts.

use std::fmt;

use tokio::time::Instant;
use zeroize::Zeroize;

use crate::types::{
    ClientId, Envelope, Origin, ProviderName, ReauthReason, Row, RowKey, Secret, SessionId,
    StoredRow, Subject, UnixTime, UserId, Version,
};

/// A row, its key and its version. Its texts are wiped when it is dropped.
pub(super) struct Kept {
    /// All texts, one after the other: the single ones in the order of [`Text`], and then the scopes.
    texts: Box<str>,
    /// Where each single text ends.
    ends: [usize; Text::COUNT],
    /// Where each scope ends.
    scope_ends: Box<[usize]>,
    /// The end of the access token, of the session and of the refresh token, and the time of the write. 0 means
    /// none, since 0 is not a time.
    times: [i64; 4],
    reauth: Option<ReauthReason>,
    version: Version,
    expires: Option<Instant>,
}

/// A text that every row has. One that is empty is one that the row lacks.
#[derive(Clone, Copy)]
enum Text {
    Session,
    Provider,
    User,
    Access,
    Refresh,
    Id,
    Type,
    Subject,
    Client,
    OriginServer,
    OriginClient,
    Sealed,
}

impl Text {
    const COUNT: usize = 12;
}

impl Kept {
    /// Copies a row. It counts as gone from `expires` on.
    pub(super) fn new(key: &RowKey, row: &Row, version: Version, expires: Option<Instant>) -> Self {
        let origin = row.origin.as_ref();
        // In the order of `Text`.
        let singles: [&str; Text::COUNT] = [
            key.session.as_str(),
            key.provider.as_str(),
            row.user_id.as_ref().map_or("", UserId::as_str),
            row.access_token.as_ref().map_or("", Secret::expose),
            row.refresh_token.as_ref().map_or("", Secret::expose),
            row.id_token.as_ref().map_or("", Secret::expose),
            &row.token_type,
            row.upstream_subject.as_ref().map_or("", Subject::as_str),
            row.client_id.as_ref().map_or("", ClientId::as_str),
            origin.map_or("", |origin| &origin.server),
            origin.map_or("", |origin| &origin.client_id),
            row.sealed.as_ref().map_or("", Envelope::as_str),
        ];
        let scopes = row.scopes.iter().map(String::as_str);
        let size = singles
            .into_iter()
            .chain(scopes.clone())
            .map(str::len)
            .sum();
        // With room for everything from the start, so that no copy of a token is left behind as the text grows.
        let mut texts = String::with_capacity(size);
        let mut append = |text: &str| {
            texts.push_str(text);
            texts.len()
        };
        let ends = singles.map(&mut append);
        let scope_ends = scopes.map(append).collect();
        let time = |time: Option<UnixTime>| time.map_or(0, UnixTime::seconds);
        Self {
            texts: texts.into_boxed_str(),
            ends,
            scope_ends,
            times: [
                time(row.expires_at),
                time(row.session_expires_at),
                time(row.refresh_expires_at),
                time(row.updated_at),
            ],
            reauth: row.reauth,
            version,
            expires,
        }
    }

    /// Returns the row as it was.
    pub(super) fn stored(&self) -> StoredRow {
        let [
            expires_at,
            session_expires_at,
            refresh_expires_at,
            updated_at,
        ] = self.times.map(UnixTime::from_seconds);
        let owned = |text| self.text(text).to_owned();
        let row = Row {
            access_token: Secret::new(owned(Text::Access)),
            refresh_token: Secret::new(owned(Text::Refresh)),
            id_token: Secret::new(owned(Text::Id)),
            token_type: owned(Text::Type),
            scopes: self.scopes(),
            expires_at,
            session_expires_at,
            refresh_expires_at,
            user_id: UserId::from_stored(owned(Text::User)),
            upstream_subject: Subject::from_stored(owned(Text::Subject)),
            client_id: ClientId::from_stored(owned(Text::Client)),
            updated_at,
            reauth: self.reauth,
            origin: Origin::from_stored(owned(Text::OriginServer), owned(Text::OriginClient)),
            sealed: Some(owned(Text::Sealed))
                .filter(|text| !text.is_empty())
                .map(Envelope::from_stored),
        };
        StoredRow {
            row,
            version: self.version,
        }
    }

    /// Returns the key, or `None` if an id in it is empty, which no id is.
    pub(super) fn key(&self) -> Option<RowKey> {
        Some(RowKey {
            session: SessionId::from_stored(self.session().to_owned())?,
            provider: self.provider_name()?,
        })
    }

    /// Returns the provider, or `None` if its name is empty, which none is.
    pub(super) fn provider_name(&self) -> Option<ProviderName> {
        ProviderName::from_stored(self.provider().to_owned())
    }

    pub(super) fn session(&self) -> &str {
        self.text(Text::Session)
    }

    pub(super) fn provider(&self) -> &str {
        self.text(Text::Provider)
    }

    /// Returns the id of the row's user. It is empty if the row has none.
    pub(super) fn user(&self) -> &str {
        self.text(Text::User)
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Whether the row can still be read.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|at| at > now)
    }

    fn text(&self, text: Text) -> &str {
        let text = text as usize;
        let start = text.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[start..self.ends[text]]
    }

    fn scopes(&self) -> Vec<String> {
        let mut start = self.ends[Text::COUNT - 1];
        let cut = |&end| {
            let scope = self.texts[start..end].to_owned();
            start = end;
            scope
        };
        self.scope_ends.iter().map(cut).collect()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.texts.zeroize();
    }
}

/// Prints the row without its tokens and without its session.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("provider", &self.provider())
            .field("stored", &self.stored())
            .field("expires", &self.expires)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key() -> RowKey {
        RowKey {
            session: SessionId::new("sé:1").unwrap(),
            provider: ProviderName::new("p").unwrap(),
        }
    }

    fn time(seconds: i64) -> Option<UnixTime> {
        UnixTime::from_seconds(seconds)
    }

    fn full() -> Row {
        Row {
            access_token: Secret::new("áccess".to_owned()),
            refresh_token: Secret::new("refresh".to_owned()),
            id_token: Secret::new("id".to_owned()),
            token_type: "Bearer".to_owned(),
            scopes: vec!["openid".to_owned(), String::new(), "б".to_owned()],
            expires_at: time(1),
            session_expires_at: time(2),
            refresh_expires_at: time(3),
            user_id: UserId::new("u").ok(),
            upstream_subject: Subject::new("subject").ok(),
            client_id: ClientId::new("client").ok(),
            updated_at: time(4),
            reauth: Some(ReauthReason::InDoubt),
            origin: Origin::from_stored("https://idp".to_owned(), "broker".to_owned()),
            sealed: Some(Envelope::from_stored("envelope".to_owned())),
        }
    }

    #[test]
    fn a_row_comes_back_as_it_was() {
        let only_scopes = Row {
            scopes: vec!["a".to_owned()],
            ..Row::default()
        };
        for row in [full(), Row::default(), only_scopes] {
            let version = Version::random();
            let kept = Kept::new(&key(), &row, version, None);
            assert_eq!(kept.stored(), StoredRow { row, version });
            assert_eq!(kept.key(), Some(key()));
        }
    }

    #[tokio::test]
    async fn a_row_is_live_until_its_end() {
        let end = Instant::now();
        let kept = Kept::new(&key(), &full(), Version::random(), Some(end));
        assert!(!kept.is_live(end));
        assert!(kept.is_live(end - Duration::from_nanos(1)));
    }

    #[test]
    fn it_prints_neither_tokens_nor_its_session() {
        let printed = format!("{:?}", Kept::new(&key(), &full(), Version::random(), None));
        for secret in ["áccess", "refresh\"", "\"id\"", "sé"] {
            assert!(!printed.contains(secret), "{printed}");
        }
        assert!(printed.contains("subject"), "{printed}");
    }
}
