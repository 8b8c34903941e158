//! Tests that nothing of a token, and of a session's id as the broker spells it, is left in memory once it was dropped.
//!
//! Each text is made so that it is found: the part that is looked for stands behind a part that the allocator may write over
//! when the text is freed. The controls are the same texts in strings that nobody wipes.

use testkit::{
    broker::{self, Broker},
    own_memory::find,
    redis_tenant::RedisTenant,
    rows,
};
use token_broker::{
    store::{Identities, MemoryStore, Records, Store, redis::keyspace::Keyspace},
    types::{ProviderName, Row, RowKey, Secret, SecretBytes, SessionId, State},
};

/// What stands before the part that is looked for. It is so long that the allocator puts what is freed where it writes over its
/// beginning only, and two blocks of SHA-256, which may leave the last block behind.
const BEFORE: &str = concat!(
    "Lq3vXbT8mRz1YkHw5NdPf7GsJc2AeUo4",
    "Wt9iDyZn6BxKr0MgVh3QlSp8FjCu5EaT",
    "Oe1kLw7bHs4PzXm2RvNq9YtGd6JfUi0C",
    "Kf8sYc3NjTq0MbZx5WuEi7DvRg1AhLo2",
);
/// How many bytes at the beginning of what is freed the C library's allocator may write over: two words, or four.
const OVERWRITTEN: [usize; 2] = [16, 32];
/// How many sessions are used. The more there are, the more of what isn't wiped is still there at the end.
const SESSIONS: usize = 300;
/// So many of the texts that nobody wipes are found at least, mostly all. Others were overwritten.
const FOUND: usize = 20;
/// So many texts at most may look like the broker's own, mostly one or two: a key that a connection has moved to the beginning of its
/// buffer, and a command in freed memory of which another text has overwritten as much as the allocator does of the broker's own.
const BY_CHANCE: usize = 10;

/// Returns a text that is found by `part`, in memory of its own size. A text that grows would leave copies behind.
fn text(part: &str, number: usize, of: &str) -> String {
    [BEFORE, part, "-", &number.to_string(), "-", of].concat()
}

fn key(part: &str, number: usize, provider: &str) -> RowKey {
    RowKey {
        session: session(part, number),
        provider: ProviderName::new(provider).unwrap(),
    }
}

fn session(part: &str, number: usize) -> SessionId {
    SessionId::new(text(part, number, "session")).unwrap()
}

fn row(part: &str, number: usize) -> Row {
    Row {
        access_token: Secret::new(text(part, number, "access")),
        refresh_token: Secret::new(text(part, number, "refresh")),
        id_token: Secret::new(text(part, number, "id")),
        ..rows::row(&format!("user-{}", number % 3), "other")
    }
}

/// Stores, reads, lists and deletes rows whose tokens and sessions are found by these parts.
async fn use_all<S: Store + Records + Identities>(broker: &Broker<S>, token: &str, session: &str) {
    for number in 0..SESSIONS {
        for provider in ["p", "q"] {
            let key = key(session, number, provider);
            broker.put(&key, &row(token, number)).await;
            let without = Row {
                refresh_token: None,
                ..row(token, number)
            };
            broker.put_carrying(&key, &without).await;
            assert!(broker.read(&key).await.is_some());
            broker.backend().look(&key).await.unwrap();
        }
        let session = self::session(session, number);
        assert_eq!(broker.rows_of(&session).await.len(), 2);
    }
    assert!(!broker.listed(&rows::user("user-1")).await.is_empty());
    assert!(broker.remove(&key(session, 0, "p")).await);
    let deleted = broker.delete_all(&self::session(session, 3)).await;
    assert_eq!(deleted.unwrap(), 2);
    broker.delete_user(&rows::user("user-1")).await.unwrap();
}

/// Whether a text was the broker's own: it stands, or stood before it was freed, at the beginning of a piece of memory. `heads`
/// are what such texts may begin with. What the client of Redis has stands behind something else, such as the name of a
/// command, so that it lacks another part of the head, or none.
fn is_own(before: &[u8], heads: &[String]) -> bool {
    heads.iter().any(|head| {
        let pairs = head.bytes().rev().zip(before.iter().rev().copied());
        let left = pairs.take_while(|(one, other)| one == other).count();
        match head.len() - left {
            // The allocator keeps a size before each piece. Its highest byte is 0.
            0 => before.iter().nth_back(left) == Some(&0),
            lost => OVERWRITTEN.contains(&lost),
        }
    })
}

/// Returns what the broker's own texts of a session begin with.
fn heads(tenant: &RedisTenant) -> Vec<String> {
    let families = ["upstream:", "upstream:idx:", "broker:refresh:"];
    let keys = families.map(|family| tenant.key(family) + BEFORE);
    keys.into_iter().chain([BEFORE.to_owned()]).collect()
}

#[tokio::test]
async fn no_token_is_left_in_memory() {
    const TOKEN: &str = "Wp9/token-that-is-wiped/4tZr";
    let tenant = crate::tenant();
    let sealed = tenant.sealed_broker(&["k"]);
    use_all(&sealed, TOKEN, "session").await;
    drop(sealed);
    let rules = broker::rules(tenant.name().clone());
    let in_memory = Broker::new(MemoryStore::default(), rules);
    use_all(&in_memory, TOKEN, "session").await;
    drop(in_memory);
    let left = find(TOKEN, |_| true);
    assert!(left.is_empty(), "{}: {left:#?}", left.len());
}

#[test]
fn a_token_that_is_not_wiped_is_found() {
    const TOKEN: &str = "Wp9/token-that-stays/4tZr";
    let tokens: Vec<_> = (0..SESSIONS).map(|at| text(TOKEN, at, "access")).collect();
    drop(tokens);
    let left = find(TOKEN, |_| true);
    assert!(left.len() > FOUND, "{}", left.len());
}

/// The client of Redis keeps commands and answers in its buffers, with keys in them (`docs/memory.md`).
#[tokio::test]
async fn a_session_is_left_only_in_what_the_client_of_redis_had() {
    const SESSION: &str = "Kx3/session-that-is-wiped/8uQm";
    let tenant = crate::tenant();
    let (heads, broker) = (heads(&tenant), tenant.sealed_broker(&["k"]));
    use_all(&broker, "token", SESSION).await;
    drop(broker);
    let left = find(SESSION, |before| is_own(before, &heads));
    assert!(left.len() <= BY_CHANCE, "{}: {left:#?}", left.len());
}

#[test]
fn a_session_that_is_not_wiped_is_found() {
    const SESSION: &str = "Kx3/session-that-stays/8uQm";
    let heads = heads(&crate::tenant());
    let sessions: Vec<_> = (0..SESSIONS).map(|at| text(SESSION, at, "s")).collect();
    drop(sessions);
    let left = find(SESSION, |before| is_own(before, &heads));
    assert!(left.len() > FOUND, "{}", left.len());
}

#[test]
fn a_key_that_is_not_wiped_is_found() {
    const SESSION: &str = "Kx3/session-in-a-key-that-stays/8uQm";
    let tenant = crate::tenant();
    let (heads, keys) = (heads(&tenant), Keyspace::new(tenant.name()));
    let names = (0..SESSIONS).map(|at| keys.row(&key(SESSION, at, "p")).as_str().to_owned());
    let names: Vec<_> = names.collect();
    drop(names);
    let left = find(SESSION, |before| is_own(before, &heads));
    assert!(left.len() > FOUND, "{}", left.len());
}

/// Whatever is made of an id or found in a key, plain or encoded. No client of Redis has it, so that none may be left.
#[test]
fn no_key_is_left_in_memory() {
    const PLAIN: &str = "Kx3/id-in-a-key/8uQm";
    const ODD: &str = "Kx3/odd-id:in-a-key/8uQm";
    const ENCODED: &str = "Kx3/odd-id%3Ain-a-key/8uQm";
    let keys = Keyspace::new(&"ns:name".parse().unwrap());
    for (part, number) in [PLAIN, ODD]
        .into_iter()
        .flat_map(|part| (0..SESSIONS).map(move |number| (part, number)))
    {
        let key = key(part, number, "a provider");
        let (row, record) = (keys.row(&key), keys.record(&key));
        assert_eq!(keys.parse_row(&row).as_ref(), Some(&key));
        assert_eq!(keys.parse_record(&record).as_ref(), Some(&key));
        let rows = keys.session_rows(&key.session);
        assert_eq!(keys.provider_in(&rows, &row), Some(key.provider));
        let index = keys.session_index(&key.session);
        assert_eq!(keys.parse_session_index(&index), Some(key.session));
        let state = State::new(text(part, number, "state")).unwrap();
        let pending = keys.pending(&state);
        assert_eq!(keys.parse_pending(&pending), Some(state));
    }
    for part in [PLAIN, ODD, ENCODED] {
        let left = find(part, |_| true);
        assert!(left.is_empty(), "{part}: {}: {left:#?}", left.len());
    }
}

/// Secret bytes that come piece by piece, as a request in several frames does, move to larger memory now and then.
#[test]
fn bytes_that_grow_leave_nothing_where_they_were() {
    const TOKEN: &str = "Gn5/token-that-grows/2wLd";
    let mut grown = vec![SecretBytes::default(); SESSIONS];
    for (number, bytes) in grown.iter_mut().enumerate() {
        let token = Secret::new(text(TOKEN, number, "access")).unwrap();
        bytes.extend_from_slice(token.expose().as_bytes());
    }
    for bytes in &mut grown {
        bytes.extend_from_slice(&[0; 5_000]);
    }
    drop(grown);
    let left = find(TOKEN, |_| true);
    assert!(left.is_empty(), "{}: {left:#?}", left.len());
}

#[test]
fn bytes_that_a_vector_leaves_behind_are_found() {
    const TOKEN: &str = "Gn5/token-of-a-vector/2wLd";
    let mut moved: Vec<_> = (0..SESSIONS)
        .map(|number| text(TOKEN, number, "access").into_bytes())
        .collect();
    for bytes in &mut moved {
        // As a vector does that can't grow where it is.
        let larger = [&bytes[..], &[0; 5_000]].concat();
        *bytes = larger;
    }
    moved
        .into_iter()
        .for_each(|bytes| drop(SecretBytes::new(bytes)));
    let left = find(TOKEN, |_| true);
    assert!(left.len() > FOUND, "{}", left.len());
}
