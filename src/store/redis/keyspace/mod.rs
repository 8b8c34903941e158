//! The names of the keys (guarantees, section 3). Every key, and so every hash tag, is made here.
//!
//! This file makes keys from ids, each a [`Key`], which is wiped. `parse` finds the ids in a key, and `spelling` says how an
//! id is written in a key.

mod key;
mod parse;
mod spelling;

pub use self::key::Key;
use self::spelling::{encode, encode_session, is_plain};
use crate::types::{ClientId, RowKey, SessionId, State, Tenant, UserId};

/// What all keys of all tenants begin with, before the tenant's name.
const ALL: &str = "thv:auth:{";
/// What follows the tenant's name.
const TAG_END: &str = "}:";
/// What follows the tenant's prefix in the keys of the broker's own records.
const RECORDS: &str = "broker:";

/// The keys of one tenant.
#[derive(Clone, Debug)]
pub struct Keyspace {
    prefix: String,
}

impl Keyspace {
    /// Returns the key space of `tenant`.
    #[must_use]
    pub fn new(tenant: &Tenant) -> Self {
        Self {
            prefix: format!("{ALL}{tenant}{TAG_END}"),
        }
    }

    /// Returns what all keys of the tenant begin with. The braces are a Redis Cluster hash tag, which puts
    /// all keys of the tenant into one slot.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the tenant's name.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.prefix
            .trim_start_matches(ALL)
            .trim_end_matches(TAG_END)
    }

    /// Returns the pattern with which SCAN finds the keys of all tenants.
    #[must_use]
    pub fn pattern_of_all() -> String {
        format!("{ALL}*{TAG_END}*")
    }

    /// Returns the Redis Cluster slot of all keys: the CRC-16 of what is between the braces.
    #[must_use]
    pub fn slot(&self) -> u16 {
        const SLOTS: u16 = 16_384;
        crc::Crc::<u16>::new(&crc::CRC_16_XMODEM).checksum(self.tenant().as_bytes()) % SLOTS
    }

    /// Returns what the keys of rows and session indexes begin with.
    #[must_use]
    pub fn rows(&self) -> String {
        format!("{}upstream:", self.prefix)
    }

    /// Returns what the keys of a session's rows begin with.
    #[must_use]
    pub fn session_rows(&self, session: &SessionId) -> Key {
        Key::of([&self.prefix, "upstream:", &encode_session(session), ":"])
    }

    /// Returns the key of a row.
    #[must_use]
    pub fn row(&self, key: &RowKey) -> Key {
        let (session, provider) = (encode_session(&key.session), encode(key.provider.as_str()));
        Key::of([&self.prefix, "upstream:", &session, ":", &provider])
    }

    /// Returns the key of a row's record.
    #[must_use]
    pub fn record(&self, key: &RowKey) -> Key {
        let (session, provider) = (encode_session(&key.session), encode(key.provider.as_str()));
        Key::of([&self.prefix, RECORDS, "refresh:", &session, ":", &provider])
    }

    /// Returns the pattern with which SCAN finds the records of all rows.
    #[must_use]
    pub fn record_pattern(&self) -> String {
        [&self.prefix, RECORDS, "refresh:*"].concat()
    }

    /// Returns the channel on which the ends of attempts are announced.
    #[must_use]
    pub fn ends(&self) -> String {
        format!("{}{RECORDS}ended", self.prefix)
    }

    /// Returns the key of a session's index: a set that holds the keys of the session's rows.
    #[must_use]
    pub fn session_index(&self, session: &SessionId) -> Key {
        Key::of([&self.prefix, "upstream:idx:", &encode_session(session)])
    }

    /// Returns the key of a user's index: a set that holds the keys of the user's rows.
    #[must_use]
    pub fn user_index(&self, user: &UserId) -> Key {
        Key::of([&self.prefix, "user:upstream:", &encode(user.as_str())])
    }

    /// Returns the key of a user record.
    #[must_use]
    pub fn user(&self, user: &UserId) -> Key {
        Key::of([&self.prefix, "user:", &encode(user.as_str())])
    }

    /// Returns the key of a set that holds the keys of a user's identities.
    #[must_use]
    pub fn user_identities(&self, user: &UserId) -> Key {
        Key::of([&self.prefix, "user:providers:", &encode(user.as_str())])
    }

    /// Returns what the keys of identities begin with.
    #[must_use]
    pub fn identities(&self) -> String {
        format!("{}provider:", self.prefix)
    }

    /// Returns what the keys of one provider's identities begin with. The length in the key tells where the
    /// name ends, so the name needs no encoding.
    #[must_use]
    pub fn provider_identities(&self, provider: &str) -> String {
        format!("{}provider:{}:{provider}:", self.prefix, provider.len())
    }

    /// Returns the key of an identity. `provider` is the provider's name, or the protocol type under which the older layout
    /// has it.
    #[must_use]
    pub fn identity(&self, provider: &str, subject: &str) -> Key {
        Key::of([&self.provider_identities(provider), subject])
    }

    /// Returns the key of a pending authorization.
    #[must_use]
    pub fn pending(&self, state: &State) -> Key {
        Key::of([&self.prefix, "pending:", &encode(state.as_str())])
    }

    /// Returns the key of the set of a client's pending authorizations.
    #[must_use]
    pub fn pending_of_client(&self, client: &ClientId) -> Key {
        Key::of([&self.all_pending(), ":", &encode(client.as_str())])
    }

    /// Returns the key of the set of all pending authorizations.
    #[must_use]
    pub fn all_pending(&self) -> Key {
        Key::of([&self.prefix, RECORDS, "pending"])
    }

    /// Returns the key of how large a client's pending authorizations are.
    #[must_use]
    pub fn pending_bytes_of_client(&self, client: &ClientId) -> Key {
        Key::of([&self.all_pending_bytes(), ":", &encode(client.as_str())])
    }

    /// Returns the key of how large all pending authorizations are.
    #[must_use]
    pub fn all_pending_bytes(&self) -> Key {
        Key::of([&self.prefix, RECORDS, "pending-bytes"])
    }

    /// Returns what the keys of the broker's own records begin with. No key of toolhive begins so.
    #[must_use]
    pub fn records(&self) -> String {
        format!("{}{RECORDS}", self.prefix)
    }

    /// Returns a key that never holds anything.
    #[must_use]
    pub fn probe(&self) -> Key {
        Key::of([&self.prefix, RECORDS, "probe"])
    }

    /// Returns the key that exists while the tenant is in its grace period (guarantees, section 5, M7).
    #[must_use]
    pub fn grace(&self) -> Key {
        Key::of([&self.prefix, RECORDS, "grace"])
    }

    /// Returns the key of the note about the last completed migration.
    #[must_use]
    pub fn migration(&self) -> Key {
        Key::of([&self.prefix, RECORDS, "migration"])
    }

    /// Returns the key of the lease that the migrating broker holds.
    #[must_use]
    pub fn migration_lease(&self) -> Key {
        Key::of([&self.prefix, RECORDS, "migration:lease"])
    }

    /// Returns the key of the lease that a broker holds while it looks for stragglers, and for a while
    /// afterwards.
    #[must_use]
    pub fn sweep_lease(&self) -> Key {
        Key::of([&self.prefix, RECORDS, "sweep:lease"])
    }

    /// Returns the pattern with which SCAN finds all keys of the tenant. The prefix needs no escaping:
    /// neither a tenant's name nor a brace is special in a pattern.
    #[must_use]
    pub fn pattern(&self) -> String {
        format!("{}*", self.prefix)
    }

    /// Returns the pattern with which SCAN finds the rows, also those of the older layout. It finds the sessions' indexes, too.
    #[must_use]
    pub fn row_pattern(&self) -> String {
        format!("{}upstream:*", self.prefix)
    }

    /// Returns the pattern with which SCAN finds the users' indexes.
    #[must_use]
    pub fn user_index_pattern(&self) -> String {
        format!("{}user:upstream:*", self.prefix)
    }

    /// Returns how other software, which encodes nothing, spells a user in its keys. Returns `None` if that is how a broker
    /// spells this user or another one.
    #[must_use]
    pub fn plain_user<'u>(&self, user: &'u UserId) -> Option<&'u str> {
        let id = user.as_str();
        (!is_plain(id) && Self::parse_user(id).is_none()).then_some(id)
    }

    /// Returns the keys of a user's record: the broker's, and that of other software if it differs.
    #[must_use]
    pub fn user_records(&self, user: &UserId) -> Vec<Key> {
        self.spellings(self.user(user), "user:", user)
    }

    /// Returns the keys of the sets of a user's identities, in the same order.
    #[must_use]
    pub fn user_identity_sets(&self, user: &UserId) -> Vec<Key> {
        self.spellings(self.user_identities(user), "user:providers:", user)
    }

    /// Returns the keys of a user's indexes, in the same order.
    #[must_use]
    pub fn user_indexes(&self, user: &UserId) -> Vec<Key> {
        self.spellings(self.user_index(user), "user:upstream:", user)
    }

    fn spellings(&self, own: Key, family: &str, user: &UserId) -> Vec<Key> {
        let plain = self.plain_user(user);
        let plain = plain.map(|user| Key::of([&self.prefix, family, user]));
        [own].into_iter().chain(plain).collect()
    }

    /// Returns the key of a user's index as toolhive spells it. Toolhive doesn't encode ids.
    #[must_use]
    pub fn plain_user_index(&self, user: &UserId) -> Key {
        Key::of([&self.prefix, "user:upstream:", user.as_str()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ProviderName;

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
            &*keys.row(&row),
            "thv:auth:{ns:name}:upstream:2f1d-9c:corp-okta"
        );
        assert_eq!(
            &*keys.session_index(&row.session),
            "thv:auth:{ns:name}:upstream:idx:2f1d-9c"
        );
        assert_eq!(
            &*keys.user_index(&user),
            "thv:auth:{ns:name}:user:upstream:u-1"
        );
        assert_eq!(&*keys.user(&user), "thv:auth:{ns:name}:user:u-1");
        assert_eq!(
            &*keys.user_identities(&user),
            "thv:auth:{ns:name}:user:providers:u-1"
        );
        assert_eq!(
            keys.provider_identities("oidc"),
            "thv:auth:{ns:name}:provider:4:oidc:"
        );
    }

    /// What other software spells as a broker spells somebody else is never taken for its own.
    #[test]
    fn a_user_has_a_second_spelling_if_it_is_nobody_elses() {
        let spellings = |id: &str| keyspace().user_records(&UserId::new(id).unwrap());
        for plain in ["u-1", "a%3Ab", "%25", "%20%7B", "idx", "日本"] {
            assert_eq!(spellings(plain).len(), 1, "{plain}");
        }
        for odd in ["a:b", "50%", "%3a", "%41", "a%3Ab:c", "a b", "upstream:u"] {
            let second = format!("thv:auth:{{ns:name}}:user:{odd}");
            let spelled = spellings(odd);
            let others: Vec<_> = spelled[1..].iter().map(Key::as_str).collect();
            assert_eq!(others, [second], "{odd}");
        }
    }

    #[test]
    fn a_record_is_spelled_as_its_row() {
        let odd = key("a:b", "p q");
        let (row, record) = (keyspace().row(&odd), keyspace().record(&odd));
        assert_eq!(&*record, "thv:auth:{ns:name}:broker:refresh:a%3Ab:p%20q");
        assert_eq!(row.replace("upstream:", "broker:refresh:"), *record);
        assert!(record.starts_with(&keyspace().records()));
        assert_eq!(keyspace().parse_record(&record), Some(odd));
        assert_eq!(keyspace().parse_record(&row), None);
    }

    #[test]
    fn the_slot_is_that_of_the_cluster() {
        // Asked of a server: CLUSTER KEYSLOT thv:auth:{ns:name}:x
        assert_eq!(keyspace().slot(), 5640);
    }

    #[test]
    fn odd_ids_are_percent_encoded() {
        let odd = keyspace().row(&key("a:b {%}", "idx"));
        assert_eq!(&*odd, "thv:auth:{ns:name}:upstream:a%3Ab%20%7B%25%7D:idx");
        assert_eq!(
            &*keyspace().row(&key("idx", "p")),
            "thv:auth:{ns:name}:upstream:%69dx:p"
        );
        assert_eq!(
            &*keyspace().row(&key("日本", "ü")),
            "thv:auth:{ns:name}:upstream:日本:ü"
        );
    }
}
