//! Tests what doesn't open.

use serde_json::{Value, json};
use testkit::{
    broker::Broker,
    redis_tenant::RedisTenant,
    rows::{bare, key, put_always, session, user},
};
use token_broker::{
    error::Error,
    store::{Sealed, Store, redis::RedisStore},
    tokens::Binding,
    types::{Row, RowKey},
};

use crate::{full, json, name, sealed_with, tenant, text};

type Sealing = Broker<Sealed<RedisStore>>;

/// Writes a row as it is, with its mark and its origin.
async fn plant(broker: &Sealing, key: &RowKey, row: &Row) {
    let put = put_always(key, row);
    broker.backend().put(put).await.unwrap();
}

/// The row is damaged to every reader, and its siblings are as they were.
async fn is_damaged(broker: &Sealing, bad: &RowKey, good: &RowKey, what: &str) {
    let read = broker.get(bad, &Binding::default()).await;
    assert!(
        matches!(read, Err(Error::RowUnreadable(_))),
        "{what}: {read:?}"
    );
    let all = broker
        .get_all(&bad.session, &Binding::default(), &Default::default())
        .await;
    let all = all.unwrap();
    assert!(all.unreadable.keys().eq([&bad.provider]), "{what}");
    assert!(all.rows.keys().eq([&good.provider]), "{what}");
    assert!(broker.listed(&user("u")).await.iter().eq([good]), "{what}");
}

/// A tenant with a row and its sibling.
struct Rows {
    tenant: RedisTenant,
    broker: Sealing,
    bad: RowKey,
    good: RowKey,
    row: Row,
}

impl Rows {
    async fn new() -> Self {
        let tenant = tenant();
        let broker = tenant.sealed_broker(&["k", "other"]);
        let (bad, good, row) = (key("s", "bad"), key("s", "good"), full("u", "token"));
        plant(&broker, &bad, &row).await;
        plant(&broker, &good, &full("u", "good")).await;
        assert_eq!(sealed_with(&tenant, &bad).as_deref(), Some("k"));
        Self {
            tenant,
            broker,
            bad,
            good,
            row,
        }
    }

    async fn is_whole(&self, what: &str) {
        let stored = self.broker.read(&self.bad).await.unwrap();
        assert!(stored.row == self.row, "{what}");
    }

    fn write(&self, text: &str) {
        self.tenant.write_row(&name(&self.bad), text);
    }
}

#[tokio::test]
async fn a_row_in_which_a_readable_field_was_edited_does_not_open() {
    let rows = Rows::new().await;
    let original = json(&rows.tenant, &rows.bad);
    let written = text(&rows.tenant, &rows.bad);
    let changes = [
        ("version", json!(4_711)),
        ("user_id", json!("v")),
        ("user_id", json!("")),
        ("expires_at", json!(0)),
        ("expires_at", json!(4_000_000_000_i64)),
        ("session_expires_at", json!(0)),
        ("session_expires_at", json!(4_000_000_000_i64)),
        ("upstream_subject", json!("subject-of-v")),
        ("upstream_subject", json!("")),
        ("client_id", json!("another")),
        ("client_id", json!("")),
        ("updated_at", json!(1)),
        ("updated_at", json!(0)),
        ("token_type", json!("DPoP")),
        ("token_type", json!("")),
        ("scopes", json!(["openid"])),
        ("scopes", json!(["openidrepo:read"])),
        ("scopes", json!(["repo:read", "openid"])),
        ("scopes", json!(["openid", "repo:read", "admin"])),
        ("scopes", json!([])),
        ("refresh_expires_at", json!(0)),
        ("refresh_expires_at", json!(4_000_000_000_i64)),
        ("reauth", json!("")),
        ("reauth", json!("in_doubt")),
        ("origin_server", json!("https://evil.example")),
        ("origin_server", json!("")),
        ("origin_client", json!("evil")),
        ("origin_client", json!("")),
        // What makes it half plain.
        ("access_token", json!("planted")),
        ("refresh_token", json!("planted")),
        ("id_token", json!("planted")),
        // What belongs to another key.
        ("provider_id", json!("good")),
    ];
    // A field that nobody thought of here would be one that can be edited.
    for field in original.as_object().unwrap().keys() {
        let is_tried = changes.iter().any(|(name, _)| name == field);
        assert!(is_tried || field == "sealed", "{field}");
    }
    for (field, value) in changes {
        for how in ["changed", "taken out"] {
            let mut row = original.clone();
            let before = row[field].clone();
            let fields = row.as_object_mut().unwrap();
            match how {
                "changed" => _ = fields.insert(field.to_owned(), value.clone()),
                _ => _ = fields.remove(field),
            }
            // Tokens are empty, and a provider's name is in the key, too.
            let says_the_same = how == "taken out"
                && (before == json!("") || field == "provider_id")
                || row[field] == before;
            rows.write(&with_its_head(&row));
            let what = format!("{field} {how}: {value}");
            match says_the_same {
                true => rows.is_whole(&what).await,
                // Without a version, the row has one that is derived from its bytes.
                false if field == "user_id" => {
                    let read = rows.broker.get(&rows.bad, &Binding::default()).await;
                    assert!(matches!(read, Err(Error::RowUnreadable(_))), "{what}");
                }
                false => is_damaged(&rows.broker, &rows.bad, &rows.good, &what).await,
            }
        }
    }
    rows.write(&written);
    rows.is_whole("as it was").await;
}

/// Spells a row as a broker does, its version and its user first.
fn with_its_head(row: &Value) -> String {
    let fields = row.as_object().unwrap();
    let of = |name: &str| fields.get(name).map(|value| format!("\"{name}\":{value}"));
    let first = ["version", "user_id"].into_iter().filter_map(of);
    let others = fields
        .keys()
        .filter(|name| *name != "version" && *name != "user_id");
    let all: Vec<_> = first.chain(others.filter_map(|name| of(name))).collect();
    format!("{{{}}}", all.join(","))
}

#[tokio::test]
async fn an_envelope_that_was_changed_anywhere_does_not_open() {
    let rows = Rows::new().await;
    let written = text(&rows.tenant, &rows.bad);
    let row = json(&rows.tenant, &rows.bad);
    let envelope = row["sealed"].as_str().unwrap();
    for at in 0..envelope.len() {
        for bit in 0..7 {
            let mut changed = envelope.as_bytes().to_vec();
            changed[at] ^= 1 << bit;
            let changed = String::from_utf8(changed).unwrap();
            let mut edited = row.clone();
            edited["sealed"] = json!(changed);
            rows.write(&with_its_head(&edited));
            let read = rows.broker.get(&rows.bad, &Binding::default()).await;
            match read {
                Err(Error::RowUnreadable(_)) => {}
                // The fingerprint of the key, 16 digits, may have become another one.
                Err(Error::KeyMissing(_)) if (4..20).contains(&at) => {}
                read => panic!("bit {bit} of byte {at}: {read:?}"),
            }
        }
    }
    for length in 0..envelope.len() {
        let mut edited = row.clone();
        edited["sealed"] = json!(envelope[..length]);
        rows.write(&with_its_head(&edited));
        is_damaged(
            &rows.broker,
            &rows.bad,
            &rows.good,
            &format!("{length} bytes"),
        )
        .await;
    }
    for longer in [
        format!("{envelope}A"),
        format!("{envelope}AAAA"),
        format!("{envelope}="),
    ] {
        let mut edited = row.clone();
        edited["sealed"] = json!(longer);
        rows.write(&with_its_head(&edited));
        is_damaged(&rows.broker, &rows.bad, &rows.good, "longer").await;
    }
    // As if another key that is here had sealed it, by its name or altogether.
    let of = |name: &str| testkit::sealing::key(name).id().to_string();
    for (from, to) in [
        ("k.".to_owned(), "other.".to_owned()),
        (of("k"), of("other")),
    ] {
        let mut edited = row.clone();
        edited["sealed"] = json!(envelope.replacen(&from, &to, 1));
        assert_ne!(edited, row);
        rows.write(&with_its_head(&edited));
        is_damaged(&rows.broker, &rows.bad, &rows.good, "another key's id").await;
    }
    rows.write(&written);
    rows.is_whole("as it was").await;
}

#[tokio::test]
async fn a_value_that_was_moved_does_not_open() {
    let rows = Rows::new().await;
    let (here, tenant) = (text(&rows.tenant, &rows.bad), &rows.tenant);
    // The provider that a row names is left out: its key tells it, and the row is whole JSON all the same.
    let anywhere = |text: &str, key: &RowKey| {
        let named = format!("\"provider_id\":\"{}\",", key.provider.as_str());
        let moved = text.replacen(&named, "", 1);
        assert_ne!(moved, text);
        moved
    };
    let moved = anywhere(&here, &rows.bad);
    rows.write(&moved);
    rows.is_whole("without the provider").await;

    // From one provider to another, and swapped.
    let sibling = text(tenant, &rows.good);
    rows.write(&anywhere(&sibling, &rows.good));
    is_damaged(&rows.broker, &rows.bad, &rows.good, "from a sibling").await;
    tenant.write_row(&name(&rows.good), &moved);
    let all = rows
        .broker
        .get_all(&session("s"), &Binding::default(), &Default::default())
        .await
        .unwrap();
    assert_eq!((all.rows.len(), all.unreadable.len()), (0, 2), "swapped");
    tenant.write_row(&name(&rows.good), &sibling);

    // From another session of the same user at the same provider.
    let other = key("t", "bad");
    plant(&rows.broker, &other, &full("u", "token")).await;
    rows.write(&text(tenant, &other));
    let read = rows.broker.get(&rows.bad, &Binding::default()).await;
    assert!(matches!(read, Err(Error::RowUnreadable(_))), "{read:?}");

    // From the same place of another tenant that has the same keys.
    let neighbour = tenant.another();
    let their = neighbour.sealed_broker(&["k", "other"]);
    plant(&their, &rows.bad, &rows.row).await;
    rows.write(&text(&neighbour, &rows.bad));
    let read = rows.broker.get(&rows.bad, &Binding::default()).await;
    assert!(matches!(read, Err(Error::RowUnreadable(_))), "{read:?}");

    // An envelope alone, in a row that says the same.
    let mut edited = serde_json::from_str::<Value>(&here).unwrap();
    edited["sealed"] = json(&neighbour, &rows.bad)["sealed"].clone();
    rows.write(&with_its_head(&edited));
    let read = rows.broker.get(&rows.bad, &Binding::default()).await;
    assert!(matches!(read, Err(Error::RowUnreadable(_))), "{read:?}");
}

/// What sealing doesn't stop: associated data bind a value to its place, and not to its time.
#[tokio::test]
async fn an_older_row_of_the_same_place_opens() {
    let rows = Rows::new().await;
    let older = text(&rows.tenant, &rows.bad);
    plant(&rows.broker, &rows.bad, &full("u", "newer")).await;
    rows.write(&older);
    rows.is_whole("put back").await;
}

#[tokio::test]
async fn a_plain_row_is_refused_where_all_have_to_be_sealed() {
    let rows = Rows::new().await;
    let plain = rows.tenant.broker();
    plain.put(&key("s", "plain"), &bare("at")).await;
    assert!(rows.broker.read(&key("s", "plain")).await.is_some());

    let mut sealing = testkit::sealing::sealing(rows.tenant.name(), &["k"]);
    sealing.require_sealed = true;
    let rules = testkit::broker::rules(rows.tenant.name().clone());
    let strict = Broker::new(Sealed::new(rows.tenant.store(), sealing), rules);
    let read = strict.get(&key("s", "plain"), &Binding::default()).await;
    assert!(matches!(read, Err(Error::RowUnreadable(_))), "{read:?}");
    assert!(strict.read(&rows.good).await.is_some());
    // The next write seals it.
    strict.put(&key("s", "plain"), &bare("at")).await;
    assert!(strict.read(&key("s", "plain")).await.is_some());
}
