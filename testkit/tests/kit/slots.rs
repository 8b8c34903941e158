//! Slots as Redis computes them.

use testkit::{cluster::slot, redis_server::RedisServer};

#[test]
fn a_keys_slot_is_the_one_that_redis_says() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    for key in [
        "",
        "123456789",
        "thv:auth:{a:b}:upstream:s:p",
        "{}x",
        "{x",
        "x}y{z}{w}",
        "{{x}}",
        "日本",
    ] {
        let told: u16 = server.ask(&["CLUSTER", "KEYSLOT", key]).unwrap();
        assert_eq!(slot(key), told, "{key}");
    }
}
