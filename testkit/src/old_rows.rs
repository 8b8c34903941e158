//! A large tenant of an older auth server, as raw keys and values: rows of 2 KiB under their protocol types, and an
//! identity for each user.

use redis::Pipeline;

use crate::redis_server::RedisServer;

/// The rows of a user.
pub const ROWS_A_USER: usize = 5;

/// What became of the protocol types: the mapping that migrates these rows.
pub const MAPPING: [&str; 2] = ["oidc=okta", "oauth2=github"];

/// A row, as it is after the migration.
pub struct OldRow {
    /// The session.
    pub session: String,
    /// The user.
    pub user: String,
    /// The logical name of the provider.
    pub provider: &'static str,
    /// The life of the row in milliseconds, counted from when it was written. `None`: it doesn't expire.
    pub life: Option<u64>,
}

/// Returns the `n`th row. Half are of each provider, and 5% have no expiry.
pub fn old_row(n: usize) -> OldRow {
    OldRow {
        session: format!("00000000-0000-4000-8000-{n:012}"),
        user: format!("user-{}", n / ROWS_A_USER),
        provider: if n.is_multiple_of(2) {
            "okta"
        } else {
            "github"
        },
        life: (!n.is_multiple_of(20)).then(|| 3_600_000 + 1_000 * n as u64),
    }
}

/// Returns the beginning of the access token of the `n`th row.
pub fn token_of(n: usize) -> String {
    format!("at-{n}-")
}

/// Writes this many rows of the tenant whose keys begin with `prefix`.
pub async fn fill(redis: &RedisServer, prefix: &str, rows: usize) {
    let mut connection = redis.connect().await;
    let token = "x".repeat(850);
    for begin in (0..rows).step_by(1_000) {
        let mut pipe = Pipeline::new();
        for n in begin..rows.min(begin + 1_000) {
            let row = old_row(n);
            let protocol = if row.provider == "okta" {
                "oidc"
            } else {
                "oauth2"
            };
            let json = format!(
                r#"{{"provider_id":"{protocol}","access_token":"{}{token}","refresh_token":"rt-{token}","id_token":"","expires_at":4102444800,"user_id":"{}","upstream_subject":"00u1abcdefGHIJKLM{n}","client_id":"client-{n}"}}"#,
                token_of(n),
                row.user
            );
            let key = format!("{prefix}upstream:{}", row.session);
            pipe.set(&key, json).ignore();
            if let Some(life) = row.life {
                pipe.pexpire(&key, i64::try_from(life).unwrap()).ignore();
            }
            pipe.sadd(format!("{prefix}user:upstream:{}", row.user), &key)
                .ignore();
            if n % ROWS_A_USER == 0 {
                let identity = format!("{prefix}provider:{}:{protocol}:sub-{n}", protocol.len());
                let json = format!(
                    r#"{{"user_id":"{}","provider_id":"{protocol}","provider_subject":"sub-{n}","linked_at":1700000000,"last_used_at":1700000000}}"#,
                    row.user
                );
                pipe.set(&identity, json).ignore();
                pipe.sadd(format!("{prefix}user:providers:{}", row.user), identity)
                    .ignore();
            }
        }
        pipe.query_async::<()>(&mut connection).await.unwrap();
    }
}
