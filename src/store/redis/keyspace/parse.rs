//! Finding the ids that a key is made of.
//!
//! An id can be spelled in several ways: `%61` is `a`. Only the spelling that [`Keyspace`] itself produces is
//! accepted, so that each row has one key.

use super::{
    ALL, Key, Keyspace, RECORDS, TAG_END,
    spelling::{decode, encode, is_plain},
};
use crate::types::{
    ClientId, IdentityKey, ProviderName, RowKey, SessionId, State, Subject, Tenant, UserId,
};

impl Keyspace {
    /// Returns the row whose key is `key`. Returns `None` for any other key, and for a spelling that
    /// [`Keyspace::row`] doesn't produce.
    #[must_use]
    pub fn parse_row(&self, key: &str) -> Option<RowKey> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix("upstream:")?;
        let (session, provider) = rest.split_once(':')?;
        if session == "idx" {
            return None;
        }
        let parsed = RowKey {
            session: SessionId::from_stored(decode(session)?)?,
            provider: ProviderName::from_stored(decode(provider)?)?,
        };
        (*self.row(&parsed) == *key).then_some(parsed)
    }

    /// Returns the row whose record is at `key`. Returns `None` for any other key.
    #[must_use]
    pub fn parse_record(&self, key: &str) -> Option<RowKey> {
        let rest = key.strip_prefix(&self.prefix)?;
        let rest = rest.strip_prefix(RECORDS)?.strip_prefix("refresh:")?;
        self.parse_row(&Key::of([&self.prefix, "upstream:", rest]))
    }

    /// Returns the provider of the row whose key is `key`, as [`Keyspace::parse_row`] would. `session_rows`
    /// is the session's [`Keyspace::session_rows`]. If `key` begins with it and the provider needs no
    /// decoding, this is faster than parsing the whole key.
    #[must_use]
    pub fn provider_in(&self, session_rows: &str, key: &str) -> Option<ProviderName> {
        match key.strip_prefix(session_rows) {
            Some(provider) if is_plain(provider) => ProviderName::from_stored(provider.to_owned()),
            _ => self.parse_row(key).map(|row| row.provider),
        }
    }

    /// Returns the session whose index is `key`. Returns `None` for any other key, and for a spelling that
    /// [`Keyspace::session_index`] doesn't produce.
    #[must_use]
    pub fn parse_session_index(&self, key: &str) -> Option<SessionId> {
        let rest = key.strip_prefix(&self.prefix)?;
        let session = SessionId::from_stored(decode(rest.strip_prefix("upstream:idx:")?)?)?;
        (*self.session_index(&session) == *key).then_some(session)
    }

    /// Returns the part of `key` that names the user, if `key` is a user's index. Accepts every spelling,
    /// because other software spells ids differently.
    #[must_use]
    pub fn parse_user_index<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix)?
            .strip_prefix("user:upstream:")
    }

    /// Returns the part of `key` that names the user, if `key` is a user's set of identities. Accepts every
    /// spelling.
    #[must_use]
    pub fn parse_user_identities<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix)?
            .strip_prefix("user:providers:")
    }

    /// Returns the user whose record is at `key`. Returns `None` for any other key, and for a spelling that
    /// [`Keyspace::user`] doesn't produce.
    #[must_use]
    pub fn parse_user_record(&self, key: &str) -> Option<UserId> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix("user:")?;
        Self::parse_user(rest)
    }

    /// Returns the identity whose key is `key`. Returns `None` for any other key.
    #[must_use]
    pub fn parse_identity(&self, key: &str) -> Option<IdentityKey> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix("provider:")?;
        let (length, rest) = rest.split_once(':')?;
        let (provider, subject) = rest.split_at_checked(length.parse().ok()?)?;
        let parsed = IdentityKey {
            provider: ProviderName::from_stored(provider.to_owned())?,
            subject: Subject::from_stored(subject.strip_prefix(':')?.to_owned())?,
        };
        (*self.identity(provider, parsed.subject.as_str()) == *key).then_some(parsed)
    }

    /// Returns the state whose pending authorization is at `key`. Returns `None` for any other key, and for a spelling that
    /// [`Keyspace::pending`] doesn't produce.
    #[must_use]
    pub fn parse_pending(&self, key: &str) -> Option<State> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix("pending:")?;
        let state = State::from_stored(decode(rest)?)?;
        (*self.pending(&state) == *key).then_some(state)
    }

    /// Returns the client whose pending authorizations are counted at `key`, or `None` within if those of all clients are.
    /// Returns `None` for any other key.
    #[must_use]
    pub fn parse_pending_set(&self, key: &str) -> Option<Option<ClientId>> {
        let rest = key.strip_prefix(&*self.all_pending())?;
        if rest.is_empty() {
            return Some(None);
        }
        let client = ClientId::from_stored(decode(rest.strip_prefix(':')?)?)?;
        (*self.pending_of_client(&client) == *key).then_some(Some(client))
    }

    /// Whether `key` says how large pending authorizations are.
    #[must_use]
    pub fn is_pending_bytes(&self, key: &str) -> bool {
        let rest = key.strip_prefix(&*self.all_pending_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }

    /// Returns the user that this broker spells as `spelled` in a key. Returns `None` if there is no such
    /// user.
    #[must_use]
    pub fn parse_user(spelled: &str) -> Option<UserId> {
        let user = UserId::from_stored(decode(spelled)?)?;
        (*encode(user.as_str()) == *spelled).then_some(user)
    }

    /// Returns the tenant to whose data `key` belongs. Returns `None` for other keys, and for a broker's own records: a
    /// broker that was given a wrong name leaves some behind.
    #[must_use]
    pub fn tenant_with_data(key: &[u8]) -> Option<Tenant> {
        let rest = key.strip_prefix(ALL.as_bytes())?;
        let end = rest
            .windows(TAG_END.len())
            .position(|part| part == TAG_END.as_bytes())?;
        let (tenant, rest) = (&rest[..end], &rest[end + TAG_END.len()..]);
        if rest.starts_with(RECORDS.as_bytes()) {
            return None;
        }
        str::from_utf8(tenant).ok()?.parse().ok()
    }

    /// Returns the session whose row is at `key` in the older layout, which has one row per session. Such a
    /// key holds the session's id without encoding.
    #[must_use]
    pub fn parse_legacy_row(&self, key: &str) -> Option<SessionId> {
        let session = key.strip_prefix(&self.prefix)?.strip_prefix("upstream:")?;
        (!session.contains(':')).then(|| SessionId::from_stored(session.to_owned()))?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::spelling::ids::id, *};

    fn keyspace() -> Keyspace {
        Keyspace::new(&"ns:name".parse().unwrap())
    }

    #[test]
    fn only_the_one_spelling_of_a_key_is_a_row() {
        let prefix = "thv:auth:{ns:name}:upstream:";
        for other in [
            "s", "idx:s", "s:", ":p", "a b:p", "%61:p", "s:a:b", "s:%zz", "s:%ff", "s:%",
        ] {
            assert_eq!(
                keyspace().parse_row(&format!("{prefix}{other}")),
                None,
                "{other}"
            );
        }
        assert_eq!(
            keyspace().parse_row("thv:auth:{ns:other}:upstream:s:p"),
            None
        );
    }

    /// What any software may write for a provider in a key.
    fn spelled_provider() -> impl Strategy<Value = String> {
        prop_oneof![
            id(),
            id().prop_map(|id| encode(&id).to_owned()),
            ".{0,4}",
            Just("p".repeat(512)),
            Just("p".repeat(513)),
        ]
    }

    proptest! {
        /// The short way and the long way to a provider agree on every key.
        #[test]
        fn the_provider_in_a_key_is_that_of_its_row(
            own in id(),
            other in id(),
            provider in spelled_provider(),
        ) {
            let keys = keyspace();
            let rows = |id: &str| keys.session_rows(&SessionId::new(id).unwrap());
            let own_rows = rows(&own);
            for key in [
                format!("{}{provider}", &*own_rows),
                format!("{}{provider}", &*rows(&other)),
                format!("{}{other}:{provider}", keys.rows()),
                format!("{}{provider}", keys.prefix()),
                provider,
            ] {
                let parsed = keys.parse_row(&key).map(|row| row.provider);
                prop_assert_eq!(keys.provider_in(&own_rows, &key), parsed, "{}", key);
            }
        }
    }

    #[test]
    fn the_provider_in_a_key() {
        let keys = keyspace();
        for (session, provider, spelled) in [
            ("s", "github", "github"),
            ("idx", "github", "github"),
            ("s", "idx", "idx"),
            ("a:b", "a b", "a%20b"),
            ("s", "ü", "ü"),
        ] {
            let rows = keys.session_rows(&SessionId::new(session).unwrap());
            let found = keys.provider_in(&rows, &format!("{}{spelled}", &*rows));
            assert_eq!(found, ProviderName::new(provider).ok());
        }
        let rows = keys.session_rows(&SessionId::new("s").unwrap());
        for none in ["", "a b", "%61", "a:b", "%zz"] {
            assert_eq!(
                keys.provider_in(&rows, &format!("{}{none}", &*rows)),
                None,
                "{none:?}"
            );
        }
    }
}
