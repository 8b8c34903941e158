//! One meaning of "readable" (guarantees, section 3): what a read says of a row is what every write acts on, whatever
//! bytes other software left in it.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use testkit::{broker::Broker, redis_tenant::RedisTenant, rows::*};
use token_broker::{
    error::Error,
    store::redis::{
        RedisStore,
        maintenance::{check::Check, migration::progress::Silent},
    },
    tokens::Binding,
    types::{Row, RowKey, StoredRow, Version},
};

use crate::tenant;

/// Long enough for any single call. A loop without an end takes longer.
const PROMPT: Duration = Duration::from_secs(20);

/// A row of the user `u` with these fields in front of its own.
fn with(fields: &str) -> Vec<u8> {
    format!(r#"{{{fields},"provider_id":"p","access_token":"at","user_id":"u"}}"#).into_bytes()
}

/// Rows on which two JSON parsers may disagree, or that look like the broker's own.
fn hostile() -> Vec<Vec<u8>> {
    let nested = |depth: usize| format!(r#""x":{}{}"#, "[".repeat(depth), "]".repeat(depth));
    let mut rows: Vec<Vec<u8>> = [
        // What readers skip, because they don't know the field.
        r#""x":"\ud83d""#,
        r#""x":"\udc00\ud800""#,
        r#""\ud83d":1"#,
        r#""x":"\u0000""#,
        r#""x":1e999"#,
        r#""x":-1e999"#,
        r#""x":12345678901234567890123"#,
        r#""x":NaN"#,
        r#""x":-Infinity"#,
        r#""x":0x10"#,
        r#""x":01"#,
        r#""x":1."#,
        r#""x":"\x""#,
        r#""x":tru"#,
        "\"x\":\"\u{1}\"",
        "\"x\":\"\u{7f}\u{2028}\"",
        // Fields twice.
        r#""x":1,"x":2"#,
        r#""user_id":"v""#,
        r#""user\u005fid":"v""#,
        r#""version":7,"version":8"#,
        // Versions.
        r#""version":7"#,
        r#""version":7.0"#,
        r#""version":7e0"#,
        r#""version":7.5"#,
        r#""version":-7"#,
        r#""version":0"#,
        r#""version":"7""#,
        r#""version":true"#,
        r#""version":[[7]]"#,
        r#""version":1e999"#,
        r#""version":0x7"#,
        r#""version":9007199254740991"#,
        r#""version":9007199254740992"#,
        r#""version":18446744073709551616"#,
        r#""Version":7"#,
        // A wrong type.
        r#""expires_at":1.5"#,
        r#""expires_at":1e3"#,
        r#""expires_at":9223372036854775808"#,
        r#""scopes":[1]"#,
        r#""refresh_token":"\ud83d""#,
        // A text that no caller may store.
        r#""refresh_token":"a\r\n""#,
        r#""token_type":"Bearer\r\nX: y""#,
        "\"token_type\":\"\u{7f}\"",
        r#""scopes":["a b"]"#,
        r#""client_id":"\u0085""#,
    ]
    .into_iter()
    .map(with)
    .collect();
    rows.extend([100, 200, 999, 1_001, 5_000].map(|depth| with(&nested(depth))));
    rows.push(with(&format!(
        r#""version":{}7{}"#,
        "[".repeat(200),
        "]".repeat(200)
    )));
    // The user.
    for user in [
        r#""\u0075""#,
        r#""v""#,
        r#""""#,
        "null",
        "7",
        "[]",
        r#"["u"]"#,
        r#""u\u0000""#,
        r#""\ud83d""#,
        r#""u ""#,
        r#""CORP\\alice""#,
        r#""a\"b""#,
        "\"日本\"",
        "true",
    ] {
        rows.push(format!(r#"{{"access_token":"at","user_id":{user}}}"#).into_bytes());
        // The broker's own head.
        rows.push(format!(r#"{{"version":7,"user_id":{user},"access_token":"at"}}"#).into_bytes());
    }
    rows.push(b"{\"access_token\":\"at\",\"user_id\":\"u\",\"x\":\"\xff\"}".to_vec());
    rows.push(b"{\"access_token\":\"at\",\"user_id\":\"u\xff\"}".to_vec());
    rows.push(b"{\"version\":7,\"user_id\":\"u\xff\",\"access_token\":\"at\"}".to_vec());
    rows.push(format!(r#"{{"access_token":"at","user_id":"{}"}}"#, "u".repeat(600)).into_bytes());
    rows.push(format!(r#"{{"version":7,"user_id":"{}"}}"#, "u".repeat(600)).into_bytes());
    rows.push(format!(r#"{{"version":7,"user_id":"{}"}}"#, "u".repeat(512)).into_bytes());
    for text in [
        r#"{"version":07,"user_id":"u"}"#,
        r#"{"version":7.0,"user_id":"u"}"#,
        r#"{"version":9007199254740992,"user_id":"u"}"#,
        r#"{"version":0,"user_id":"u"}"#,
        r#"{"version":7, "user_id":"u"}"#,
        r#" {"version":7,"user_id":"u"}"#,
        r#"{"version":7,"user_id":"u" }"#,
        r#"{"version":7,"user_id":"u"}"#,
        r#"{"version":7,"user_id":"u","x":"\ud83d"}"#,
        r#"{"version":7,"user_id":"u","provider_id":"p","access_token":"at"}"#,
        "{}",
        "{} ",
        "{}x",
        "{}\0",
        "",
        " ",
        "null ",
        "\u{feff}{}",
        "[]",
        r#"["u"]"#,
        "7",
        r#"{"user_id":"u"}"#,
        r#"{"user_id":"u"}{"user_id":"v"}"#,
        r#"{"user_id":"u","access_token":7}"#,
        r#"{"user_id":"u","provider_id":"another"}"#,
        r#"{"user_id":"u""#,
        r#"{'user_id':'u'}"#,
        r#"{"user_id":"u",}"#,
        "{\"user_id\":\"u\",// why\n\"access_token\":\"at\"}",
        r#"{"a":{"user_id":"v","version":9},"user_id":"u"}"#,
    ] {
        rows.push(text.as_bytes().to_vec());
    }
    rows
}

/// A row of the user `u`, with `text` written over it by other software.
async fn planted(text: &[u8]) -> (RedisTenant, Broker<RedisStore>, RowKey) {
    let (tenant, key) = (tenant(), key("s", "p"));
    let broker = tenant.broker();
    broker.put(&key, &row("u", "at")).await;
    broker
        .put(&testkit::rows::key("s", "sibling"), &row("u", "at"))
        .await;
    let mut set = redis::cmd("SET");
    set.arg(tenant.key("upstream:s:p")).arg(text).arg("KEEPTTL");
    set.exec(&mut tenant.raw()).unwrap();
    (tenant, broker, key)
}

fn is_row(tenant: &RedisTenant) -> bool {
    tenant.run(&["EXISTS", &tenant.key("upstream:s:p")])
}

fn is_member(tenant: &RedisTenant, index: &str) -> bool {
    tenant.run(&["SISMEMBER", &tenant.key(index), &tenant.key("upstream:s:p")])
}

/// What a read says: the row, or `None` if it can't be read.
async fn told(broker: &Broker<RedisStore>, key: &RowKey) -> Option<StoredRow> {
    match broker.get(key, &Binding::default()).await {
        Ok(stored) => Some(stored),
        Err(Error::RowUnreadable(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// The version in a head that is spelled as the broker spells it. It counts even if the rest is damaged.
fn version_in_head(text: &[u8]) -> bool {
    text.starts_with(b"{\"version\":7,\"user_id\":\"")
}

/// Holds every write on a row with this text against what a read says of it.
async fn acts_on_what_is_read(text: &[u8]) {
    let what = String::from_utf8_lossy(text);
    let names_v = what.contains(r#""user_id":"v""#);
    let what: &str = &what.chars().take(200).collect::<String>();

    // A version that was read can be deleted, and no other.
    let (tenant, broker, key) = planted(text).await;
    let read = told(&broker, &key).await;
    let mut versions = vec![Version::derived_from(text), Version::random()];
    versions.extend([5, 7, 8, (1 << 53) - 1].map(|number| Version::from_number(number).unwrap()));
    versions.retain(|version| {
        read.as_ref()
            .is_none_or(|stored| stored.version != *version)
    });
    versions.retain(|version| read.is_some() || version.number() != 7 || !version_in_head(text));
    for version in versions {
        let deleted = broker.delete(&key, Some(version)).await;
        assert!(
            matches!(deleted, Err(Error::VersionMismatch)),
            "{version:?}: {deleted:?}: {what}"
        );
    }
    match &read {
        Some(stored) => assert!(
            broker.delete(&key, Some(stored.version)).await.unwrap(),
            "{what}"
        ),
        None => assert!(broker.remove(&key).await, "{what}"),
    }
    assert!(
        !is_row(&tenant) && !is_member(&tenant, "upstream:idx:s"),
        "{what}"
    );
    let owner = read.as_ref().and_then(|stored| stored.row.user_id.clone());
    if owner == Some(user("u")) {
        assert!(!is_member(&tenant, "user:upstream:u"), "{what}");
    }

    // A login that carries a token forward ends at once, and moves the row to its user.
    let (tenant, broker, key) = planted(text).await;
    let silent = Row {
        refresh_token: None,
        ..row("w", "new")
    };
    tokio::time::timeout(PROMPT, broker.put_carrying(&key, &silent))
        .await
        .expect(what);
    assert!(is_member(&tenant, "user:upstream:w"), "{what}");
    if owner == Some(user("u")) {
        assert!(!is_member(&tenant, "user:upstream:u"), "{what}");
    }

    // Who deletes the user deletes the row, unless it says that it is another one's.
    let (tenant, broker, key) = planted(text).await;
    broker.delete_user(&user("u")).await.unwrap();
    let is_left = is_row(&tenant);
    match &read {
        Some(_) => assert_eq!(is_left, owner != Some(user("u")), "{what}"),
        None => assert!(!is_left || names_v, "{what}"),
    }
    assert_eq!(is_member(&tenant, "upstream:idx:s"), is_left, "{what}");
    assert!(!is_member(&tenant, "user:upstream:u"), "{what}");
    if is_left {
        assert_eq!(told(&broker, &key).await, read, "{what}");
    }

    // Who deletes the session deletes the row.
    let (tenant, broker, key) = planted(text).await;
    assert_eq!(broker.delete_all(&key.session).await.unwrap(), 2, "{what}");
    assert!(!is_row(&tenant), "{what}");
}

#[tokio::test]
async fn what_a_read_says_of_a_row_is_what_writes_act_on() {
    for text in hostile() {
        acts_on_what_is_read(&text).await;
    }
}

/// Rows put together from pieces, in any order.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_read_says_of_any_row_is_what_writes_act_on() {
    let pieces = prop::sample::select(vec![
        r#""version":7"#,
        r#""user_id":"u""#,
        r#""user_id":"v""#,
        r#""provider_id":"p""#,
        r#""access_token":"at""#,
        r#""version":8.0"#,
        r#""x":"\ud83d""#,
        r#""x":{"version":9}"#,
        r#""x":[1e999]"#,
        r#""access_token":7"#,
        "",
        " ",
        r#""user_id":"\u0075""#,
        r#""version":null"#,
        r#""user_id":null"#,
        r#""x":NaN"#,
        "}",
        "{",
        "\u{1}",
    ]);
    let rows = (
        prop::sample::select(vec!["{", "{ ", "[", ""]),
        prop::collection::vec(pieces, 0..6),
        prop::sample::select(vec![",", ", ", ",,"]),
        prop::sample::select(vec!["}", "}}", "", "} ", "}x"]),
    );
    let rows =
        rows.prop_map(|(open, pieces, comma, close)| [open, &pieces.join(comma), close].concat());
    let mut runner = TestRunner::new(Config {
        cases: 60,
        ..Config::default()
    });
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        runner.run(&rows, |text| {
            handle.block_on(acts_on_what_is_read(text.as_bytes()));
            Ok(())
        })
    })
    .unwrap();
}

/// `check` judges whose a row is as readers do, and removes no row from an index if that can't be told.
#[tokio::test]
async fn check_judges_rows_as_they_are_read() {
    for (text, is_moved) in [
        (r#"{"access_token":"at","user_id":"v","x":"\ud83d"}"#, true),
        (r#"{"access_token":"at","user_id":"v","x":1e999}"#, true),
        (r#"{"version":7,"user_id":"v","x":"\ud83d"}"#, true),
        (r#"{"access_token":7,"user_id":"v"}"#, true),
        (r#"{"access_token":"at","user_id":"u","x":"\ud83d"}"#, false),
        (
            r#"{"access_token":"at","user_id":"v","user_id":"u"}"#,
            false,
        ),
        (r#"{"access_token":"at","user_id":"v","x":NaN}"#, false),
    ] {
        let (tenant, broker, _) = planted(text.as_bytes()).await;
        // A row in another spelling is looked at too.
        let (index, odd) = (tenant.key("user:upstream:u"), tenant.key("upstream:s:a b"));
        tenant.run::<()>(&["SET", &odd, text]);
        tenant.run::<()>(&["SADD", &index, &odd]);
        let check = Check::new(broker.backend()).repairing(true);
        check.run(&Silent).await.unwrap();
        let indexes = ["user:upstream:u", "user:upstream:v"].map(|index| is_member(&tenant, index));
        assert_eq!(indexes, [!is_moved, is_moved], "{text}");
        let odd_is_left: bool = tenant.run(&["SISMEMBER", &index, &odd]);
        assert_eq!(odd_is_left, !is_moved, "{text}");
    }
}
