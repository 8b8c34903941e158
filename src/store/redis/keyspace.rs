//! The names of the keys (guarantees, section 3). Every key, and so every hash tag, is made here.

use std::borrow::Cow;

use crate::types::{ProviderName, RowKey, SessionId, Tenant, UserId};

/// A tenant's part of the keys of a Redis.
#[derive(Clone, Debug)]
pub struct Keyspace {
    prefix: String,
}

impl Keyspace {
    /// The keys of `tenant`.
    #[must_use]
    pub fn new(tenant: &Tenant) -> Self {
        Self {
            prefix: format!("thv:auth:{{{tenant}}}:"),
        }
    }

    /// What all keys of the tenant begin with. The braces are a Redis Cluster hash tag, which puts
    /// them all into one slot.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The slot of a Redis Cluster that all keys are in: the CRC-16 of what is between the braces.
    #[must_use]
    pub fn slot(&self) -> u16 {
        const SLOTS: u16 = 16_384;
        let tag = self
            .prefix
            .trim_start_matches("thv:auth:{")
            .trim_end_matches("}:");
        crc::Crc::<u16>::new(&crc::CRC_16_XMODEM).checksum(tag.as_bytes()) % SLOTS
    }

    /// What the keys of rows and session indexes begin with.
    #[must_use]
    pub fn rows(&self) -> String {
        format!("{}upstream:", self.prefix)
    }

    /// What the keys of a session's rows begin with.
    #[must_use]
    pub fn session_rows(&self, session: &SessionId) -> String {
        [&self.prefix, "upstream:", &encode_session(session), ":"].concat()
    }

    /// A row.
    #[must_use]
    pub fn row(&self, key: &RowKey) -> String {
        let (session, provider) = (encode_session(&key.session), encode(key.provider.as_str()));
        [&self.prefix, "upstream:", &session, ":", &provider].concat()
    }

    /// The set of the keys of a session's rows.
    #[must_use]
    pub fn session_index(&self, session: &SessionId) -> String {
        format!("{}upstream:idx:{}", self.prefix, encode_session(session))
    }

    /// The set of the keys of a user's rows.
    #[must_use]
    pub fn user_index(&self, user: &UserId) -> String {
        format!("{}user:upstream:{}", self.prefix, encode(user.as_str()))
    }

    /// A user record.
    #[must_use]
    pub fn user(&self, user: &UserId) -> String {
        format!("{}user:{}", self.prefix, encode(user.as_str()))
    }

    /// The set of the keys of a user's identities.
    #[must_use]
    pub fn user_identities(&self, user: &UserId) -> String {
        format!("{}user:providers:{}", self.prefix, encode(user.as_str()))
    }

    /// What the keys of identities begin with.
    #[must_use]
    pub fn identities(&self) -> String {
        format!("{}provider:", self.prefix)
    }

    /// What the keys of one provider's identities begin with. The length tells where the name ends,
    /// so that nothing needs to be encoded.
    #[must_use]
    pub fn provider_identities(&self, provider: &str) -> String {
        format!("{}provider:{}:{provider}:", self.prefix, provider.len())
    }

    /// What the keys of the broker's own records begin with; toolhive has none that do.
    #[must_use]
    pub fn records(&self) -> String {
        format!("{}broker:", self.prefix)
    }

    /// A key that never holds anything.
    #[must_use]
    pub fn probe(&self) -> String {
        format!("{}broker:probe", self.prefix)
    }

    /// There while the tenant is in its grace period (guarantees, section 5, M7).
    #[must_use]
    pub fn grace(&self) -> String {
        format!("{}broker:grace", self.prefix)
    }

    /// The record of the last completed migration.
    #[must_use]
    pub fn migration(&self) -> String {
        format!("{}broker:migration", self.prefix)
    }

    /// Held by the broker that migrates.
    #[must_use]
    pub fn migration_lease(&self) -> String {
        format!("{}broker:migration:lease", self.prefix)
    }

    /// Held by the broker that looks for stragglers, and for a while after it looked.
    #[must_use]
    pub fn sweep_lease(&self) -> String {
        format!("{}broker:sweep:lease", self.prefix)
    }

    /// What SCAN has to match to find all keys of the tenant. A prefix has nothing in it that means
    /// something in a pattern: tenants have no such characters, and braces mean nothing there.
    #[must_use]
    pub fn pattern(&self) -> String {
        format!("{}*", self.prefix)
    }

    /// What SCAN has to match to find the sets of the users' rows.
    #[must_use]
    pub fn user_index_pattern(&self) -> String {
        format!("{}user:upstream:*", self.prefix)
    }

    /// The set of the keys of a user's rows as toolhive spells it, which encodes nothing.
    #[must_use]
    pub fn plain_user_index(&self, user: &UserId) -> String {
        format!("{}user:upstream:{}", self.prefix, user.as_str())
    }

    /// The row that `key` is the key of. `None` for all other keys, spellings that
    /// [`Keyspace::row`] doesn't produce among them.
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
        (self.row(&parsed) == key).then_some(parsed)
    }

    /// The session whose index `key` is. `None` for all other keys, also where it isn't spelled as
    /// [`Keyspace::session_index`] does it.
    #[must_use]
    pub fn parse_session_index(&self, key: &str) -> Option<SessionId> {
        let rest = key.strip_prefix(&self.prefix)?;
        let session = SessionId::from_stored(decode(rest.strip_prefix("upstream:idx:")?)?)?;
        (self.session_index(&session) == key).then_some(session)
    }

    /// What stands for the user in `key`, if that is an index of a user's rows, whoever spelled it.
    #[must_use]
    pub fn parse_user_index<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix)?
            .strip_prefix("user:upstream:")
    }

    /// What stands for the user in `key`, if that is a set of a user's identities, whoever spelled
    /// it.
    #[must_use]
    pub fn parse_user_identities<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix)?
            .strip_prefix("user:providers:")
    }

    /// The user that is spelled so in a key. `None` if none is, by this broker.
    #[must_use]
    pub fn parse_user(spelled: &str) -> Option<UserId> {
        let user = UserId::from_stored(decode(spelled)?)?;
        (encode(user.as_str()) == spelled).then_some(user)
    }

    /// The session whose row `key` is in the older layout, one row a session: its name as it stands
    /// in the key.
    #[must_use]
    pub fn parse_legacy_row(&self, key: &str) -> Option<SessionId> {
        let session = key.strip_prefix(&self.prefix)?.strip_prefix("upstream:")?;
        (!session.contains(':')).then(|| SessionId::from_stored(session.to_owned()))?
    }
}

/// Percent-encodes what could let two ids meet, or end a hash tag. Plain ids stay as they are, so
/// that toolhive finds them. The same is in `scripts/lib.lua`.
fn encode(id: &str) -> Cow<'_, str> {
    let is_odd = |c: char| matches!(c, '%' | ':' | '{' | '}' | '\0'..=' ' | '\x7f');
    if !id.contains(is_odd) {
        return Cow::Borrowed(id);
    }
    let mut encoded = String::with_capacity(id.len() + 16);
    for c in id.chars() {
        if is_odd(c) {
            encoded.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            encoded.push(c);
        }
    }
    Cow::Owned(encoded)
}

/// A session called `idx` would make its rows look like session indexes.
fn encode_session(session: &SessionId) -> Cow<'_, str> {
    match session.as_str() {
        "idx" => Cow::Borrowed("%69dx"),
        other => encode(other),
    }
}

fn decode(encoded: &str) -> Option<String> {
    let mut pieces = encoded.split('%');
    let mut decoded = pieces.next()?.to_owned();
    for piece in pieces {
        let (hex, rest) = piece.split_at_checked(2)?;
        decoded.push(char::from(
            u8::from_str_radix(hex, 16).ok().filter(u8::is_ascii)?,
        ));
        decoded.push_str(rest);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn keyspace() -> Keyspace {
        Keyspace::new(&"ns:name".parse().unwrap())
    }

    fn key(session: &str, provider: &str) -> RowKey {
        RowKey {
            session: SessionId::new(session).unwrap(),
            provider: ProviderName::new(provider).unwrap(),
        }
    }

    #[test]
    fn plain_ids_give_the_keys_of_toolhive() {
        let (keys, user) = (keyspace(), UserId::new("u-1").unwrap());
        let row = key("2f1d-9c", "corp-okta");
        assert_eq!(
            keys.row(&row),
            "thv:auth:{ns:name}:upstream:2f1d-9c:corp-okta"
        );
        assert_eq!(
            keys.session_index(&row.session),
            "thv:auth:{ns:name}:upstream:idx:2f1d-9c"
        );
        assert_eq!(
            keys.user_index(&user),
            "thv:auth:{ns:name}:user:upstream:u-1"
        );
        assert_eq!(keys.user(&user), "thv:auth:{ns:name}:user:u-1");
        assert_eq!(
            keys.user_identities(&user),
            "thv:auth:{ns:name}:user:providers:u-1"
        );
        assert_eq!(
            keys.provider_identities("oidc"),
            "thv:auth:{ns:name}:provider:4:oidc:"
        );
    }

    #[test]
    fn the_slot_is_that_of_the_cluster() {
        // Asked of a server: CLUSTER KEYSLOT thv:auth:{ns:name}:x
        assert_eq!(keyspace().slot(), 5640);
    }

    #[test]
    fn odd_ids_are_percent_encoded() {
        let odd = keyspace().row(&key("a:b {%}", "idx"));
        assert_eq!(odd, "thv:auth:{ns:name}:upstream:a%3Ab%20%7B%25%7D:idx");
        assert_eq!(
            keyspace().row(&key("idx", "p")),
            "thv:auth:{ns:name}:upstream:%69dx:p"
        );
        assert_eq!(
            keyspace().row(&key("日本", "ü")),
            "thv:auth:{ns:name}:upstream:日本:ü"
        );
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

    fn id() -> impl Strategy<Value = String> {
        // Ids made of what keys are made of meet most easily.
        prop_oneof![
            proptest::collection::vec(
                prop_oneof![
                    Just(":"),
                    Just("%"),
                    Just("{"),
                    Just("}"),
                    Just(" "),
                    Just("idx"),
                    Just("3A"),
                    Just("25"),
                    Just("69dx"),
                    Just("%3A"),
                    Just("a"),
                    Just("é"),
                    Just("upstream"),
                    Just("user"),
                    Just("providers"),
                ],
                1..5,
            )
            .prop_map(|parts| parts.concat()),
            "[^\\p{Cc}]{1,40}",
        ]
    }

    proptest! {
        /// I6: all keys that a pair of ids gives, none of which may be a key of another pair.
        #[test]
        fn different_pairs_never_meet(pairs in proptest::collection::vec((id(), id()), 2..40)) {
            let keys = keyspace();
            let mut seen: HashMap<String, String> = HashMap::new();
            for (session, other) in pairs {
                let row = key(&session, &other);
                let user = UserId::new(other.as_str()).unwrap();
                for (name, of) in [
                    (keys.row(&row), format!("row {session:?} {other:?}")),
                    (keys.session_index(&row.session), format!("session {session:?}")),
                    (keys.user_index(&user), format!("rows of {other:?}")),
                    (keys.user(&user), format!("user {other:?}")),
                    (keys.user_identities(&user), format!("identities of {other:?}")),
                ] {
                    let first = seen.entry(name).or_insert_with(|| of.clone());
                    prop_assert_eq!(&*first, &of);
                }
                let index = keys.user_index(&user);
                let spelled = keys.parse_user_index(&index).unwrap_or_default();
                prop_assert_eq!(Keyspace::parse_user(spelled), Some(user));
                let index = keys.session_index(&row.session);
                prop_assert_eq!(keys.parse_session_index(&index), Some(row.session.clone()));
                prop_assert_eq!(keys.parse_row(&keys.row(&row)), Some(row));
            }
        }
    }
}
