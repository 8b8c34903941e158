//! Tests sealing (guarantees, section 7): what doesn't open, who can't open it, and what becomes of rows while keys change.
//!
//! | what | file |
//! |---|---|
//! | a value that was moved, and a row in which anything was edited, doesn't open, and harms no sibling | `edited` |
//! | pending authorizations: who lacks the key, what was moved, half sealed, plain or damaged, each with its reason, and none is lost | `pending` |
//! | the same for each bit and each length of their bytes, and for mutations; readers that bind less are caught | `pending_bytes` |
//! | any mutation of the bytes of a row, of each kind: the same row, or the right error. `SEAL_MUTATIONS` says how many | `mutations` |
//! | a broker that lacks the key: `KEY_MISSING`, never damage, and nothing is overwritten or left out | `missing` |
//! | what belongs to another client, under a key that the broker lacks: the answers that it has with the key | `elsewhere` |
//! | two keys of one name: the wrong one is a missing one, and a name can be changed | `namesakes` |
//! | refreshing sealed rows, also when a result can't be written yet | `refreshing` |
//! | `keys rotate`: versions, lives and newer writes stay; the part of Redis' time that it takes | `rotation` |
//! | `keys rotate` under load, killed half-way: brokers refresh, carry over, store and read, and one lacks the key. `SEAL_ROWS` says how many rows | `under_load` |
//! | nothing is sealed in the grace period, and nothing is written plain with a key | `grace` |
//! | a broker that nobody calls reads its keys again | `idle` |
//! | the advice that `keys status` prints, each piece followed as it is printed | `advice` |
//! | keys that Vault wraps: each way in which it fails, starts, keys that change, commands. Vault is a stand-in | `vault` |
//! | a key file that is a pipe, is missing for a while, holds a key that may not be there, or is read again; counted by the program | `key_file` |
//! | no token is left in memory, and of a session only what the client of Redis had | `wiped` |
//! | `keys generate` and `status`, the rights of the key file, and keys that are read again | `commands` |
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints figures"
)]

mod advice;
mod commands;
mod edited;
mod elsewhere;
mod grace;
mod idle;
mod key_file;
mod missing;
mod mutations;
mod namesakes;
mod pending;
mod pending_bytes;
mod refreshing;
mod rotation;
mod under_load;
mod vault;
mod wiped;

use serde_json::Value;
use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, rows};
use token_broker::types::{Origin, Row, RowKey};

/// Returns a new tenant on the Redis that the tests share.
fn tenant() -> RedisTenant {
    RedisTenant::on(RedisServer::shared())
}

/// Returns the arguments that lead a program to a tenant. It waits for Redis also on a busy machine.
fn args_of(tenant: &RedisTenant, redis: &RedisServer) -> [String; 3] {
    [
        format!("--redis-url={}", redis.url()),
        "--redis-timeout=10s".to_owned(),
        format!("--tenant={}", tenant.name()),
    ]
}

/// Returns a row in which every field is set. A new field has to be named here, and so to be set: then `edited` asks for an
/// edit of it.
fn full(user: &str, token: &str) -> Row {
    let Row {
        access_token,
        refresh_token,
        token_type,
        scopes,
        expires_at,
        user_id,
        upstream_subject,
        client_id,
        ..
    } = rows::row(user, token);
    Row {
        access_token,
        refresh_token,
        id_token: rows::secret(&format!("id-{token}")),
        token_type,
        scopes,
        expires_at,
        session_expires_at: rows::in_seconds(7_200),
        refresh_expires_at: rows::in_seconds(86_400),
        user_id,
        upstream_subject,
        client_id,
        updated_at: rows::in_seconds(0),
        reauth: Some(token_broker::types::ReauthReason::Refused),
        origin: Origin::from_stored("https://idp.example".to_owned(), "broker".to_owned()),
        sealed: None,
    }
}

/// Returns the name of a row's key, without the tenant's prefix. The ids must be plain.
fn name(key: &RowKey) -> String {
    format!(
        "upstream:{}:{}",
        key.session.as_str(),
        key.provider.as_str()
    )
}

/// Returns the text of a row in Redis.
fn text(tenant: &RedisTenant, key: &RowKey) -> String {
    tenant.run(&["GET", &tenant.key(&name(key))])
}

/// Returns a row in Redis as JSON.
fn json(tenant: &RedisTenant, key: &RowKey) -> Value {
    serde_json::from_str(&text(tenant, key)).unwrap()
}

/// Returns which key a row in Redis is sealed with, or nothing if it isn't sealed.
fn sealed_with(tenant: &RedisTenant, key: &RowKey) -> Option<String> {
    sealing_key(&json(tenant, key))
}

/// Returns which key a row is sealed with, or nothing if it isn't sealed.
fn sealing_key(row: &Value) -> Option<String> {
    let envelope = row.get("sealed")?.as_str()?;
    Some(envelope.split('.').nth(1)?.to_owned())
}
