//! Nothing else is touched: not what other tenants have, nor what the auth server keeps of its own.

use std::collections::BTreeMap;

use crate::{
    seed::{MAPPING, seed},
    world::{Held, P, World, old_json},
};

/// Keys of every kind that isn't older upstream data of this tenant.
pub async fn plant(world: &World) {
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
        world
            .set_for(&format!("{P}{key}"), "{\"some\": \"thing\"}", 3_600_000)
            .await;
    }
    world
        .add(
            &format!("{P}upstream:idx:x"),
            &format!("{P}upstream:x:github"),
        )
        .await;
    world
        .add(
            &format!("{P}user:upstream:zoe"),
            &format!("{P}upstream:x:github"),
        )
        .await;
    world
        .add(
            &format!("{P}user:providers:zoe"),
            &format!("{P}provider:6:github:12"),
        )
        .await;
    world
        .cmd::<()>("HSET", &[&format!("{P}hash"), "field", "value"])
        .await;
    world
        .cmd::<()>("RPUSH", &[&format!("{P}list"), "value"])
        .await;
    world
        .cmd::<()>("ZADD", &[&format!("{P}sorted"), "1", "value"])
        .await;
    for tenant in [
        "thv:auth:{ns:nam}:",
        "thv:auth:{ns:name2}:",
        "thv:auth:{other:name}:",
        "x:thv:auth:{ns:name}:",
    ] {
        let key = format!("{tenant}upstream:s1");
        world.set(&key, &old_json("oidc", "alice", "theirs")).await;
        world
            .add(&format!("{tenant}user:upstream:alice"), &key)
            .await;
        world
            .set(
                &format!("{tenant}provider:4:oidc:alice-sub"),
                r#"{"user_id":"alice"}"#,
            )
            .await;
    }
}

/// The keys as Redis dumps them, one by one, so that it also works beside a large tenant.
pub async fn dumps(world: &World, keys: &[String]) -> Vec<Vec<u8>> {
    let mut dumps = Vec::new();
    for key in keys {
        dumps.push(world.cmd("DUMP", &[key]).await);
    }
    dumps
}

#[tokio::test]
async fn nothing_else_is_touched() {
    let world = World::new().await;
    plant(&world).await;
    let before: BTreeMap<String, Held> = world.dump().await;
    seed(&world).await;
    let own = world.migrate(MAPPING).await;
    assert!(own.is_complete());
    let migration = world.migration(MAPPING);
    migration.sweep(std::time::Duration::ZERO).await.unwrap();
    let after = world.dump().await;
    for (key, held) in &before {
        assert_eq!(&after[key], held, "{key}");
    }
    let new = after.keys().filter(|key| !before.contains_key(*key));
    assert!(new.clone().all(|key| key.starts_with(P)), "{new:?}");
}
