//! Tests that nothing else is touched: neither the data of other tenants, nor the auth server's own
//! data.

use crate::{
    old_tenant::{OldTenant, P, old_json},
    seed::{MAPPING, seed},
};

/// Plants keys of every kind that aren't older upstream data of this tenant.
pub async fn plant(tenant: &OldTenant) {
    for key in [
        "access:sig",
        "refresh:sig",
        "authcode:code",
        "pkce:sig",
        "client:c1",
        "user:zoe",
        "provider:6:github:12",
        "provider:4:okta:sub",
        "pending:state",
        "invalidated:code",
        "jwt:jti",
        "reqid:access:r1",
        "reqid:refresh:r1",
        "dcr:3:iss:3:uri:hash",
        "upstream:x:github",
        "provider:5:oidc::x",
        "upstreams:x",
        "upstream:",
    ] {
        tenant
            .set_for(&format!("{P}{key}"), "{\"some\": \"thing\"}", 3_600_000)
            .await;
    }
    tenant
        .add(
            &format!("{P}upstream:idx:x"),
            &format!("{P}upstream:x:github"),
        )
        .await;
    tenant
        .add(
            &format!("{P}user:upstream:zoe"),
            &format!("{P}upstream:x:github"),
        )
        .await;
    tenant
        .add(
            &format!("{P}user:providers:zoe"),
            &format!("{P}provider:6:github:12"),
        )
        .await;
    tenant
        .cmd::<()>("HSET", &[&format!("{P}hash"), "field", "value"])
        .await;
    tenant
        .cmd::<()>("RPUSH", &[&format!("{P}list"), "value"])
        .await;
    tenant
        .cmd::<()>("ZADD", &[&format!("{P}sorted"), "1", "value"])
        .await;
    for other in [
        "thv:auth:{ns:nam}:",
        "thv:auth:{ns:name2}:",
        "thv:auth:{other:name}:",
        "x:thv:auth:{ns:name}:",
    ] {
        let key = format!("{other}upstream:s1");
        tenant.set(&key, &old_json("oidc", "alice", "theirs")).await;
        tenant
            .add(&format!("{other}user:upstream:alice"), &key)
            .await;
        tenant
            .set(
                &format!("{other}provider:4:oidc:alice-sub"),
                r#"{"user_id":"alice"}"#,
            )
            .await;
    }
}

/// Returns the keys as `DUMP` returns them, one by one, so that this works next to a large tenant.
pub async fn dumps(tenant: &OldTenant, keys: &[String]) -> Vec<Vec<u8>> {
    let mut dumps = Vec::new();
    for key in keys {
        dumps.push(tenant.cmd("DUMP", &[key]).await);
    }
    dumps
}

#[tokio::test]
async fn nothing_else_is_touched() {
    let tenant = OldTenant::new().await;
    plant(&tenant).await;
    let before = tenant.snapshot_of_all();
    seed(&tenant).await;
    let own = tenant.migrate(MAPPING).await;
    assert!(own.is_complete());
    let migration = tenant.migration(MAPPING);
    migration.sweep(std::time::Duration::ZERO).await.unwrap();
    let after = tenant.snapshot_of_all();
    after.assert_still_holds(&before);
    let keys = after.0.keys();
    let new: Vec<_> = keys.filter(|key| !before.0.contains_key(*key)).collect();
    assert!(
        new.iter().all(|key| key.starts_with(P.as_bytes())),
        "{new:?}"
    );
}
