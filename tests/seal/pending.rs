//! Tests pending authorizations whose payload is sealed: each has the right reason, harms no sibling and stays, so that the
//! callback finds it when its key or its bytes are back.

use std::fmt::Debug;

use testkit::{
    broker_process::BrokerProcess,
    pending::{client, consume, new_pending, pending_in, state},
    private_file::write_private,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::{provider, session, user},
    sealing,
};
use token_broker::{
    authorizations::{Authorizations, NewPending},
    error::Error,
    proto::v1::{ConsumeRequest, pending_authorizations_client::PendingAuthorizationsClient},
    seal::{KeyRing, Keys},
    store::{Sealed, Sealing, redis::RedisStore},
    types::{Payload, PendingAuthorization, Reach, SecretBytes},
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::{args_of, tenant};

/// What the auth server keeps.
pub const PAYLOAD: &str = "verifier-of-the-login";

/// The pending authorizations of a broker.
pub type Pending = Authorizations<Sealed<RedisStore>>;

fn with(tenant: &RedisTenant, sealing: Sealing) -> Pending {
    pending_in(Sealed::new(tenant.store(), sealing), 100, 100)
}

/// Returns those of a broker that has these keys.
pub fn pending(tenant: &RedisTenant, keys: &[&str]) -> Pending {
    with(tenant, sealing::sealing(tenant.name(), keys))
}

/// Returns what an auth server asks to be kept under a state.
pub fn new(state: &str) -> NewPending {
    NewPending {
        session: session("session-of-the-login"),
        client: client("client-of-the-login"),
        user: Some(user("user-of-the-login")),
        payload: SecretBytes::new(PAYLOAD.as_bytes().to_vec()),
        ..new_pending(state)
    }
}

/// Returns what Redis holds of a state.
pub fn text(tenant: &RedisTenant, state: &str) -> String {
    tenant.run(&["GET", &tenant.key(&format!("pending:{state}"))])
}

/// The authorization is there once, with everything that the auth server gave.
async fn is_whole(pending: &Pending, state: &str) {
    let taken = consume(pending, state).await.unwrap();
    let Payload::Plain(payload) = &taken.payload else {
        panic!("{state} isn't opened")
    };
    assert_eq!(&**payload, PAYLOAD.as_bytes(), "{state}");
    let new = new(state);
    assert_eq!(
        (taken.provider, taken.session, taken.client, taken.user),
        (new.provider, new.session, new.client, new.user)
    );
    let again = consume(pending, state).await;
    assert!(matches!(again, Err(Error::StateNotFound)), "{again:?}");
}

fn tells_nothing(answer: &impl Debug, what: &str) {
    let told = format!("{answer:?}");
    assert!(!told.contains(PAYLOAD), "{what}: {told}");
}

fn is_missing(answer: Result<PendingAuthorization, Error>, what: &str) {
    match answer {
        Err(Error::KeyMissing(key)) => assert_eq!(key, *sealing::key("new").id(), "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

/// Brokers that lack the key, in each way: they say so, whatever provider the callback is said to come from, and take nothing.
#[tokio::test]
async fn a_callback_at_a_broker_without_the_key_loses_no_login() {
    let tenant = tenant();
    let ahead = pending(&tenant, &["new", "old"]);
    ahead.create(new("x")).await.unwrap();
    let renamed = Sealing {
        keys: Keys::fixed(KeyRing::of(vec![sealing::namesake("new")])),
        ..Sealing::off(tenant.name().clone())
    };
    let behind = [
        ("the old key alone", pending(&tenant, &["old"])),
        ("no key", pending(&tenant, &[])),
        ("another key of the name", with(&tenant, renamed)),
    ];
    let before = tenant.snapshot();
    let x = state("x");
    for (what, behind) in &behind {
        // A callback that is misrouted burns the authorization, but only who can read it knows that it is.
        for from in [None, Some(provider("okta")), Some(provider("evil"))] {
            let told = behind.consume(&x, from.as_ref(), &Reach::default()).await;
            tells_nothing(&told, what);
            is_missing(told, what);
        }
        // Its state is taken for them, too.
        let taken = behind.create(new("x")).await;
        assert!(
            matches!(taken, Err(Error::StateExists)),
            "{what}: {taken:?}"
        );
    }
    assert!(tenant.snapshot() == before, "something was written");
    // Their own are as they were, and who has the key has this one.
    behind[0].1.create(new("y")).await.unwrap();
    is_whole(&behind[0].1, "y").await;
    is_whole(&ahead, "x").await;
    let gone = consume(&behind[0].1, "x").await;
    assert!(matches!(gone, Err(Error::StateNotFound)), "{gone:?}");
}

/// The same as an auth server sees it: an error that asks for the call to be repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auth_server_is_told_to_come_again() {
    let tenant = tenant();
    let ahead = pending(&tenant, &["new"]);
    ahead.create(new("x")).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    write_private(&path, sealing::file(&["old"]));
    let [url, timeout, name] = &args_of(&tenant, RedisServer::shared());
    let settings = [url, timeout, name, "--seal-keys", path.to_str().unwrap()];
    let behind = BrokerProcess::start(&settings);
    behind.serving().await;
    let mut client = PendingAuthorizationsClient::new(behind.connect().await);
    let asks = || ConsumeRequest {
        state: "x".to_owned(),
        provider: None,
    };
    let status = client.consume(asks()).await.unwrap_err();
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(details.error_info().unwrap().reason, "KEY_MISSING");
    assert!(details.retry_info().is_some(), "{details:?}");
    tells_nothing(&status, "the status");
    // The rollout goes on, and the same call succeeds.
    write_private(&path, sealing::file(&["old", "new"]));
    behind.signal("HUP");
    testkit::waiting::until("the broker has the key", || {
        let mut client = client.clone();
        async move {
            let answer = client.consume(asks()).await;
            answer.is_ok_and(|answer| answer.into_inner().payload == PAYLOAD.as_bytes())
        }
    })
    .await;
}

/// A state whose value somebody writes to, its sibling, and the reader.
struct World {
    tenant: RedisTenant,
    pending: Pending,
    original: String,
}

impl World {
    async fn new() -> Self {
        let tenant = tenant();
        let pending = pending(&tenant, &["k", "other"]);
        for state in ["x", "sibling"] {
            pending.create(new(state)).await.unwrap();
        }
        let original = text(&tenant, "x");
        assert!(!original.contains(PAYLOAD) && original.contains(r#""sealed":"1.k."#));
        Self {
            tenant,
            pending,
            original,
        }
    }

    /// Writes bytes in the place of the authorization. Returns why nobody gets it; what was written stays.
    async fn refused(&self, bytes: &[u8], what: &str) -> Error {
        let key = self.tenant.key("pending:x");
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(bytes).arg("KEEPTTL");
        set.query::<()>(&mut self.tenant.raw()).unwrap();
        let told = consume(&self.pending, "x").await;
        tells_nothing(&told, what);
        let left: Vec<u8> = self.tenant.run(&["GET", &key]);
        assert!(left == bytes, "{what}: it is gone");
        told.expect_err(what)
    }

    async fn is_damaged(&self, text: &str, what: &str) {
        let told = self.refused(text.as_bytes(), what).await;
        assert!(
            matches!(told, Error::RecordUnreadable(_)),
            "{what}: {told:?}"
        );
    }

    /// The sibling is unharmed, and so is the authorization when its bytes are put back.
    async fn ends_whole(self) {
        self.tenant.write_row("pending:x", &self.original);
        is_whole(&self.pending, "x").await;
        is_whole(&self.pending, "sibling").await;
    }
}

#[tokio::test]
async fn what_belongs_elsewhere_does_not_open() {
    let world = World::new().await;
    // Another tenant's, which has the same keys, in the same place: whole, and its envelope alone.
    let neighbour = world.tenant.another();
    let their = pending(&neighbour, &["k", "other"]);
    their.create(new("x")).await.unwrap();
    let theirs = text(&neighbour, "x");
    world.is_damaged(&theirs, "another tenant's").await;
    let sibling = text(&world.tenant, "sibling");
    let own = envelope(&world.original);
    for (of, what) in [(&theirs, "another tenant's"), (&sibling, "the sibling's")] {
        let planted = world.original.replace(own, envelope(of));
        assert_ne!(planted, world.original);
        world.is_damaged(&planted, what).await;
    }
    is_whole(&their, "x").await;
    // As if another key that is here had sealed it.
    let of = |name: &str| sealing::key(name).id().to_string();
    let renamed = world.original.replacen(&of("k"), &of("other"), 1);
    assert_ne!(renamed, world.original);
    world.is_damaged(&renamed, "another key's").await;
    // A row's envelope is none of a payload.
    let at = testkit::rows::key("s", "okta");
    let rows = world.tenant.sealed_broker(&["k"]);
    rows.put(&at, &testkit::rows::bare("at")).await;
    let row = crate::json(&world.tenant, &at);
    let planted = world.original.replace(own, row["sealed"].as_str().unwrap());
    world.is_damaged(&planted, "a row's").await;
    world.ends_whole().await;
}

fn envelope(text: &str) -> &str {
    let (_, rest) = text.split_once(r#""sealed":""#).unwrap();
    rest.split_once('"').unwrap().0
}

/// A payload is plain or sealed: both, or neither, is damage.
#[tokio::test]
async fn what_is_half_sealed_does_not_open() {
    let world = World::new().await;
    let whole = world.original.strip_suffix('}').unwrap();
    let payload = r#""payload":"cGxhbnRlZA==""#;
    let empty = r#""payload":"""#;
    let sealed = format!(r#""sealed":"{}""#, envelope(&world.original));
    for (text, what) in [
        (format!("{whole},{payload}}}"), "both"),
        (
            world
                .original
                .replace(&sealed, &format!("{payload},{sealed}")),
            "both, the plain one first",
        ),
        (format!("{whole},{empty}}}"), "both, and the plain is empty"),
        (
            world.original.replace(&format!(",{sealed}"), ""),
            "without an envelope",
        ),
        (
            world.original.replace(&sealed, r#""sealed":null"#),
            "neither",
        ),
        (
            world.original.replace(&sealed, r#""sealed":"""#),
            "an empty envelope",
        ),
        (format!("{whole},{sealed}}}"), "two envelopes"),
    ] {
        assert_ne!(text, world.original, "{what}");
        world.is_damaged(&text, what).await;
    }
    world.ends_whole().await;
}

/// What the setting is for: without it, who writes to Redis can put a plain authorization in the place of a sealed one.
#[tokio::test]
async fn a_plain_payload_is_refused_where_all_have_to_be_sealed() {
    let world = World::new().await;
    let tenant = &world.tenant;
    let plain = pending(tenant, &[]);
    for state in ["plain", "other"] {
        plain.create(new(state)).await.unwrap();
    }
    let sealing = sealing::sealing(tenant.name(), &["k"]);
    let strict = Sealing {
        require_sealed: true,
        ..sealing
    };
    let strict = with(tenant, strict);
    let before = tenant.snapshot();
    let told = consume(&strict, "plain").await;
    tells_nothing(&told, "plain");
    assert!(matches!(told, Err(Error::RecordUnreadable(_))), "{told:?}");
    assert!(tenant.snapshot() == before, "it is gone");
    // It isn't lost for who may read it, and sealed ones are read.
    is_whole(&plain, "plain").await;
    is_whole(&strict, "sibling").await;
    strict.create(new("sealed")).await.unwrap();
    assert!(text(tenant, "sealed").contains(r#""sealed":"1.k."#));
    is_whole(&strict, "sealed").await;
    // The control: where it isn't demanded, the plain one is taken for whole.
    is_whole(&world.pending, "other").await;
}

/// Two bits of each byte, and each length, through the whole way of a call. Every bit is in `pending_bytes`.
#[tokio::test]
async fn a_damaged_byte_is_told_of_and_loses_no_login() {
    let world = World::new().await;
    let bytes = world.original.as_bytes();
    let fingerprint = crate::pending_bytes::fingerprint(&world.original);
    let begins = r#"{"broker":""#.len();
    for at in 0..bytes.len() {
        let flipped = |bit: u8| {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= bit;
            flipped
        };
        for (text, what) in [
            (flipped(1 << (at % 8)), "flipped"),
            (flipped(b'a' ^ b'A'), "in the other case"),
            (bytes[..at].to_vec(), "cut off"),
        ] {
            let what = format!("{what} at {at}");
            match world.refused(&text, &what).await {
                // What doesn't begin as the broker's own is other software's.
                Error::StateNotFound if at < begins => {}
                Error::KeyMissing(_) if fingerprint.contains(&at) && text.len() > at => {}
                Error::RecordUnreadable(_) if at >= begins => {}
                told => panic!("{what}: {told:?}"),
            }
        }
    }
    world.ends_whole().await;
}
